"""The lock that keeps two processes from writing one run: the operating system's, so kill -9 frees it.

The lock file stays when the lock is released: removing it would let two processes lock two files of one name.
"""

from pathlib import Path

from filelock import FileLock, Timeout

from agent.errors import LogError

_WAIT_S = 0.2
"""How long a run waits for its lock: longer than `is_held` takes to look, far shorter than a run."""


class RunLock:
    """Holds one run, or scoring, of one log until `release`, or until the process ends however it ends."""

    def __init__(self, log: Path, number: int, what: str = "run") -> None:
        """Raises `LogError` at once if it is held elsewhere, or if no file can be made beside the log."""
        log = log.resolve()  # one lock, whatever link the log was opened by
        self._lock = FileLock(_place(log, number, what), thread_local=False)
        named = f"{what.capitalize()} {number} of {log}"
        try:
            self._lock.acquire(timeout=_WAIT_S)
        except Timeout:
            instead = ", or start a run of its own with --new" if what == "run" else ""
            raise LogError(f"{named} is being written by another process; wait for it to end{instead}.") from None
        except OSError as error:
            raise LogError(f"{named} cannot be locked ({error.strerror}); choose another place with --log.") from error

    def release(self) -> None:
        """Frees the run; releasing twice does nothing."""
        self._lock.release()


def is_held(log: Path, run_id: int) -> bool:
    """Tells whether a process is writing that run now; False if that cannot be found out from here."""
    place = _place(log.resolve(), run_id)
    if not place.exists():
        return False
    lock = FileLock(place, thread_local=False)
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _place(log: Path, number: int, what: str = "run") -> Path:
    return log.with_name(f"{log.name}.{what}{number}.lock")
