"""The command line: what can be typed, what each command does, what it prints."""

from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs `interpret` with `arguments`, or with those of this process, and ends the process with its exit status."""
    from agent.cli.interpret import main as run  # here, so that a part of the command line loads without the whole

    run(arguments)
