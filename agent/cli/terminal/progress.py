"""Shows a run's progress: a bar on a terminal, a plain line now and then anywhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from agent.calls.admission import Admission
from agent.schema import Outcome

_PLAIN_EVERY_S = 10.0
_FORETOLD_FROM = 0.05
"""Share of the features from which on the time left is told: the first ones wait for what is measured once."""


def progress(
    console: Console, n_features: int, admission: Admission
) -> AbstractContextManager[Callable[[Outcome], None]]:
    """Yields a function that takes the outcomes of the `n_features` still to be done, one by one."""
    show = _bar if console.is_terminal else _plain_lines
    return show(console, n_features, admission)


class _OnItsWay(TextColumn):
    """A column with the calls in flight and the run's cost, read anew at every refresh."""

    def __init__(self, admission: Admission) -> None:
        super().__init__("")
        self._admission = admission

    def render(self, task: Task) -> Text:  # noqa: ARG002
        return Text(_on_its_way(self._admission))


def _on_its_way(admission: Admission) -> str:
    cost_usd = admission.budget.known_usd
    return f"{admission.gate.in_flight} in flight" + (f", ${cost_usd:.4f}" if cost_usd else "")


@contextmanager
def _bar(console: Console, n_features: int, admission: Admission) -> Iterator[Callable[[Outcome], None]]:
    columns = (
        TextColumn("features"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        _OnItsWay(admission),
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
def _plain_lines(console: Console, n_features: int, admission: Admission) -> Iterator[Callable[[Outcome], None]]:
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
            left = f", about {left_s:.0f} s left" if done >= _FORETOLD_FROM * n_features else ""
            console.print(f"{done} of {n_features} done, {_on_its_way(admission)}, {failed} failed{left}")

    yield told
