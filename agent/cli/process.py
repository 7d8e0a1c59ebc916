"""Runs a command as a process: guards its streams, prints any error as one sentence, sets the exit status.

Exit status: 0 done, 1 some features failed or are left (a budget, batches on their way), 2 bad usage or input,
130 interrupted, 141 the reader of a pipe has gone.
"""

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from agent.cli.streams import Outlet, is_reader_gone, outlive
from agent.evidence.printable import printable
from agent.secrets import blank_output, without_secrets
from probes.doors import brief
from probes.errors import InterpretError

_MAX_CHARS = 4000
"""Characters of an error's message."""
_PIPE_CLOSED = 141
"""128 + SIGPIPE."""


def run_as_process(command: click.Command, arguments: Sequence[str] | None) -> NoReturn:
    """Runs the command and exits; `arguments` are those of the process unless given."""
    blank_output()
    outlets = outlive()
    status = _status(command, arguments)
    sys.exit(status if outlets is None else _status_told(status, outlets[0]))


def _status(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Runs one command and returns its exit status; prints any error as one sentence."""
    state = {"debug": False}
    try:
        status = command.main(args=arguments, prog_name="interpret", standalone_mode=False, obj=state)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.ClickException as error:
        return _told(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _told("Interrupted.", 130)
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # wide, since panics of libraries written in Rust are no Exception
        if state["debug"]:
            sys.excepthook(type(error), error, error.__traceback__)  # which blanks secrets
        return _told(str(error) if isinstance(error, InterpretError) else _unforeseen(error), 2)
    return status or 0


def _status_told(status: int, output: Outlet) -> int:
    """Returns the exit status after the last output: 2 with a sentence if output was lost, unless the command failed.

    Where the reader of a pipe has gone, as `head` does, it is what the shell gives for that, and nothing is said.
    """
    sys.stdout.flush()
    if output.failure is None:
        return status
    if is_reader_gone(output.failure):
        return status or _PIPE_CLOSED
    return _told(f"The output could not be written: {brief(output.failure)}.", status or 2)


def _unforeseen(error: BaseException) -> str:
    return (
        f"an unexpected error occurred ({type(error).__name__}: {brief(error)}); "
        "run the same command with --debug to see where, and please report it."
    )


def _told(message: str, status: int) -> int:
    """Prints the reason, shortened in the middle if it is long, and returns the status."""
    if len(message) > _MAX_CHARS:
        message = f"{message[: _MAX_CHARS // 2]} ... {message[-_MAX_CHARS // 2 :]}"
    print(f"interpret: {printable(without_secrets(message))}", file=sys.stderr, flush=True)
    return status
