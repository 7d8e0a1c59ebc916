"""Standard output and errors that survive a closed terminal, a full disk or a reader that has gone.

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
    """Writes bytes to a descriptor until a write fails; drops everything after that."""

    def __init__(self, descriptor: int, failure: OSError | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure = failure
        """Why something was lost; None where all was written."""

    def write(self, data: "Buffer", /) -> int:
        """Reports everything as written, even if it was dropped."""
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
        """Returns True."""
        return True

    def fileno(self) -> int:
        """Returns the descriptor, from which libraries tell terminals."""
        return self._descriptor

    def isatty(self) -> bool:
        """Tests if the stream is a terminal."""
        return self.failure is None and os.isatty(self._descriptor)


def outlive() -> tuple[Outlet, Outlet] | None:
    """Replaces this process's output and errors by outlets; None for one that was replaced by something else.

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
    """Opens the closed ones of the three descriptors on the null device; returns them with the error of using them."""
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
    """Makes a text stream as Python does, but escapes characters that the encoding lacks."""
    replaced = sys.__stdout__ if outlet.fileno() == OUTPUT else sys.__stderr__
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=getattr(replaced, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=outlet.isatty() or outlet.fileno() == ERRORS,
    )


def is_reader_gone(failure: OSError) -> bool:
    """Tests if the reader of the output has closed it, as `head` does, which is no fault."""
    return failure.errno == errno.EPIPE
