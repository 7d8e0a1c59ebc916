"""How far a run is, while it runs: a bar on a terminal, a plain line now and then anywhere else.

Knows outcomes and nothing of the loop that makes them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agent.schema import Outcome

_PLAIN_EVERY_S = 10.0


def progress(console: Console, n_features: int) -> AbstractContextManager[Callable[[Outcome], None]]:
    """A context whose value is told each outcome of `n_features` that are still to be done."""
    return _bar(console, n_features) if console.is_terminal else _plain_lines(console, n_features)


@contextmanager
def _bar(console: Console, n_features: int) -> Iterator[Callable[[Outcome], None]]:
    columns = (
        TextColumn("features"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=n_features, failed=0)
        failed = 0

        def told(outcome: Outcome) -> None:
            nonlocal failed
            failed += outcome.status == "failed"
            bar.update(task, advance=1, failed=failed)

        yield told


@contextmanager
def _plain_lines(console: Console, n_features: int) -> Iterator[Callable[[Outcome], None]]:
    begun = said = time.monotonic()
    done = failed = 0

    def told(outcome: Outcome) -> None:
        nonlocal said, done, failed
        done += 1
        failed += outcome.status == "failed"
        now = time.monotonic()
        if now - said >= _PLAIN_EVERY_S and done < n_features:
            said = now
            left_s = (now - begun) / done * (n_features - done)
            console.print(f"{done} of {n_features} done, {failed} failed, about {left_s:.0f} s left")

    yield told
