"""The agent's branch of the tree of errors rooted in `probes.errors`."""

from probes.errors import FeatureError, InterpretError


class LogError(InterpretError):
    """The log cannot be opened, written, or is in use by another run."""


class ExplainerError(InterpretError):
    """An explainer is unknown, or cannot be reached or used."""


class StoppedError(InterpretError):
    """Nothing new is started any more; what was on its way is finished."""


class InterruptError(InterpretError):
    """The user asked the run to stop."""


class BatchWaitError(InterpretError):
    """Batches are still on their way, and were waited for as long as was asked."""


class BudgetError(InterpretError):
    """The budget has no room for another call."""


class BrokenError(InterpretError):
    """Every feature fails by the same fault of the program."""


class WorkersError(InterpretError):
    """Workers cannot be had, or one holds something else than the others."""


class NoWorkerError(WorkersError):
    """No worker is left."""


class LostWorkError(FeatureError):
    """Workers are lost whenever they work on it."""


class ServeError(InterpretError):
    """Pages cannot be served here, or keys not be read."""
