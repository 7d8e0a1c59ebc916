"""Tells the user why a run or a scoring ends early, with the exit status for it."""

import click
from rich.console import Console
from rich.text import Text

from agent.errors import BatchWaitError, BudgetError, InterruptError, NoWorkerError
from probes.errors import InterpretError

GOES_ON = "Stopped; finished work is in the log, and the same command continues from there."


class CommandInterrupt(click.ClickException):
    """The error for Ctrl-C; says how to go on."""

    exit_code = 130


def finishing(reason: InterpretError) -> Text:
    """Returns the sentence for a run that starts nothing new."""
    again = " Press Ctrl-C again to stop at once." if isinstance(reason, InterruptError) else ""
    return Text(f"Finishing what is in flight.{again}")


def exit_status(screen: Console, reason: InterpretError | None) -> int:
    """Returns 0 if nothing ended it early; 1 for a spent budget, pending batches or lost workers, with a line; raises
    the rest.
    """
    if reason is None:
        return 0
    if isinstance(reason, InterruptError):
        raise CommandInterrupt(GOES_ON)
    if isinstance(reason, BudgetError | BatchWaitError | NoWorkerError):
        screen.print(Text(str(reason), style="bold"))
        return 1
    raise reason


def ends_all(reason: InterpretError | None) -> bool:
    """Tells whether what ended one run of a command ends those of its other SAEs; a batch on its way does not."""
    return reason is not None and not isinstance(reason, BatchWaitError)
