"""The generated parts of docs/reference.md: help texts and the log's schema, taken from the code itself.

Called by cog (`make docs`); `make lint` fails where the reference no longer says what these do.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import sqlite_utils
from click.testing import CliRunner

from agent.cli.interpret import interpret
from agent.log.run_log import RunLog
from agent.log.schema import tables


def help_text(*command: str) -> str:
    """Returns the help of `interpret COMMAND --help` as a block of markdown."""
    printed = CliRunner().invoke(interpret, [*command, "--help"], prog_name="interpret", terminal_width=100).output
    return f"```\n{printed.rstrip()}\n```"


def command_names() -> list[str]:
    """Returns the names of all commands but the default one, whose options `interpret --help` prints."""
    return sorted(name for name in interpret.commands if name != "run")


def log_schema() -> str:
    """Returns the tables of an empty log, without the full-text search's internal ones."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        RunLog.open(path).close()
        database = sqlite_utils.Database(path)
        schema = "\n".join(database[table].schema.rstrip(";") + ";" for table in tables())
        database.close()
    return f"```sql\n{schema}\n```"
