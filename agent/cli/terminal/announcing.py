"""Formats what a command says before its table of facts stands."""

from agent.evidence.printable import printable

_COLUMN = len("base prompt  ")
"""Of that table."""


def announced(name: str, text: str) -> str:
    """Formats one line of a name and a fact, aligned with the table that follows."""
    return printable(f"{name:<{_COLUMN}}{text}")
