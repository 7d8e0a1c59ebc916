"""The protocol of workers, and of where they come from."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

from agent.pool.resident import Loaded


class WorkerLostError(Exception):
    """The worker died or is out of reach; what it had in hand has to be done by another."""


class Worker(Protocol):
    """A process somewhere that holds a subject; it does one thing at a time, in the order asked."""

    name: str
    comes_back: bool
    """True if it may be there again after it was lost."""

    async def arrive(self) -> None:
        """Waits until there is a process. Raises WorkerLostError."""
        ...

    async def load(self) -> Loaded:
        """Loads the subject. Raises WorkerLostError and SubjectError."""
        ...

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `function(subject, *arguments)`, computed there; all of them are pickled.

        Raises what the function raises, and WorkerLostError.
        """
        ...

    async def close(self) -> None:
        """Ends the process, whatever it has in hand."""
        ...


class Workforce(Protocol):
    """A source of workers."""

    n_expected: int
    """How many workers there are to begin with."""
    patience_s: float | None
    """How long a run waits where no worker is there, in seconds, for one to come (back); None: for ever, or until no
    more can come."""

    def workers(self) -> AsyncIterator[Worker]:
        """Yields workers as they become available, which may go on for ever."""
        ...

    def close(self) -> None:
        """Leaves what the workers were on."""
        ...

    def __str__(self) -> str:
        """Describes it to the user."""
        ...
