"""A progress bar for work that goes on in batches."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agent.cli.terminal.announcing import announced

T = TypeVar("T")


@contextmanager
def bar(screen: Console, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that counts items as done; without a terminal, says once how many there are."""
    if not screen.is_terminal:
        screen.print(announced("working on", f"{total:,} {what}"))
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda n: progress.advance(task, n)


def watched(screen: Console, what: str, items: Sequence[T]) -> Iterator[T]:
    """Yields the items one by one and moves a progress bar."""
    with bar(screen, what, len(items)) as advance:
        for item in items:
            yield item
            advance(1)


def duration(seconds: float) -> str:
    """Formats a duration: `40 s`, `12 min`, `3.1 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
