"""The lock that keeps two processes from writing one run: the operating system's, so kill -9 frees it.

The lock file stays when the lock is released: removing it would let two processes lock two files of one name.
"""

from pathlib import Path

from filelock import FileLock, Timeout

from agent.errors import LogError


class RunLock:
    """Holds one run of one log until `release`, or until the process ends however it ends."""

    def __init__(self, log: Path, run_id: int) -> None:
        """Raises `LogError` at once if the run is held elsewhere, or if no file can be made beside the log."""
        log = log.resolve()  # one lock, whatever link the log was opened by
        self._lock = FileLock(log.with_name(f"{log.name}.run{run_id}.lock"), thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise LogError(
                f"Run {run_id} of {log} is being written by another process; wait for it to end, "
                "or start a run of its own with --new."
            ) from None
        except OSError as error:
            raise LogError(
                f"Run {run_id} of {log} cannot be locked ({error.strerror}); choose another place with --log."
            ) from error

    def release(self) -> None:
        """Frees the run; releasing twice does nothing."""
        self._lock.release()
