"""Opens the log for commands that only read: values that cannot be used are reported as damage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from agent.log.opening import damaged
from agent.log.run_log import RunLog
from probes.errors import InterpretError

_NOT_THE_LOGS = (InterpretError, OSError, click.ClickException, click.Abort, click.exceptions.Exit)


@contextmanager
def read_log(path: Path) -> Iterator[RunLog]:
    """Opens the log for reading. Raises LogError, also for a value that proves damaged only when it is used."""
    with RunLog.open(path, read_only=True) as log:
        try:
            yield log
        except _NOT_THE_LOGS:
            raise
        except Exception as error:
            raise damaged(path, error) from error
