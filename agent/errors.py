"""The agent's branch of the tree of errors rooted in `probes.errors`."""

from probes.errors import InterpretError


class LogError(InterpretError):
    """The log cannot be opened, written, or is in use by another run."""


class ExplainerError(InterpretError):
    """An explainer is unknown, or cannot be reached or used."""
