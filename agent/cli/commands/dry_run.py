"""The parts common to every `--dry-run`: it reads the log, if there is one, and never makes or changes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.log.run_log import RunLog


@contextmanager
def log_of(path: Path, dry: bool) -> Iterator[RunLog | None]:
    """Opens the log, made if there is none; for a dry run as it stands, None if there is none. Raises LogError."""
    if dry and (not path.exists() or (path.is_file() and path.stat().st_size == 0)):
        yield None
        return
    with RunLog.open(path, read_only=dry) as log:
        yield log
