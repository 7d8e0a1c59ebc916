"""The parts common to every `--dry-run`: the log is read, if there is one, and never made, changed or migrated."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.runlog import RunLog


@contextmanager
def log_of(path: Path, dry: bool) -> Iterator[RunLog | None]:
    """The log, made if there is none; for a dry run as it stands, and None where nothing is there. Raises LogError."""
    if dry and (not path.exists() or (path.is_file() and path.stat().st_size == 0)):
        yield None
        return
    with RunLog.open(path, read_only=dry) as log:
        yield log
