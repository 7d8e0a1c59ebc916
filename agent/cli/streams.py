"""Standard output and errors that outlive what they lead to: a closed terminal, a full disk, a reader that has gone.

What cannot be written is dropped, so that no progress bar ends a run; `main` says at the end that something was lost.
"""

import errno
import io
import os
import sys
from select import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

OUTPUT, ERRORS = 1, 2
"""The descriptors."""


class Outlet(io.RawIOBase):
    """Bytes to a descriptor, as long as they can be written there; from the first failure on to nowhere."""

    def __init__(self, descriptor: int, failure: OSError | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure = failure
        """Why something was lost; None where all was written."""

    def write(self, data: "Buffer", /) -> int:
        """All of it, whatever becomes of it."""
        view = memoryview(data).cast("B")
        while self.failure is None:
            try:
                return os.write(self._descriptor, view)
            except BlockingIOError:  # another program on this terminal has made it so
                select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        return len(view)

    def writable(self) -> bool:
        """Always, by its purpose."""
        return True

    def fileno(self) -> int:
        """The descriptor, which libraries ask about terminals."""
        return self._descriptor

    def isatty(self) -> bool:
        """Tells whether the stream is a terminal."""
        return self.failure is None and os.isatty(self._descriptor)


def outlive() -> tuple[Outlet, Outlet] | None:
    """Makes this process's output and errors such outlets; None where something else stands in their place already.

    Descriptors that are closed are opened on nothing first: else the next file to be opened, the log perhaps, would get
    the number that everything is printed to.
    """
    closed = _open_closed()
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return None
    outlets = Outlet(OUTPUT, closed.get(OUTPUT)), Outlet(ERRORS, closed.get(ERRORS))
    sys.stdout, sys.stderr = map(_text, outlets)
    return outlets


def _open_closed() -> dict[int, OSError]:
    """Opens the closed ones of the three descriptors on nothing; which they were, and the error of using them."""
    closed = {}
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError as error:
            closed[descriptor] = error
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one
    if 0 in closed:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115, a descriptor for the process's life
    return closed


def _text(outlet: Outlet) -> io.TextIOWrapper:
    """A text stream as Python makes them, but for characters that a terminal cannot show, which get their escape."""
    replaced = sys.__stdout__ if outlet.fileno() == OUTPUT else sys.__stderr__
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=getattr(replaced, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=outlet.isatty() or outlet.fileno() == ERRORS,
    )


def is_reader_gone(failure: OSError) -> bool:
    """Tells whether the output's reader has had enough, as `head` has, which is nobody's fault."""
    return failure.errno == errno.EPIPE
