"""Shows the progress of `interpret examples`, and its outcome."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agent.cli.terminal.display import facts
from eval.collect.corpus_pass import Collection, PassObserver
from eval.collect.self_check import SelfCheck
from eval.collect.units import ActivationUnit
from eval.readers import ReadResult

TOLD_FAULTS = 5
_SAME = log(1.05)
"""Lengths of decoder rows that are nearer to 1 make no difference."""


@contextmanager
def bars(screen: Console) -> Iterator[Progress]:
    """Returns a context in which progress bars are drawn, if there is a terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} of {task.total:,}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as progress:
        yield progress


class Advance:
    """A progress bar with its rate."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._place = len(progress.tasks)
        self._task = progress.add_task(what, total=total, rate="")

    def __call__(self, n: int) -> None:
        """Counts `n` more as done."""
        task = self._progress.tasks[self._place]
        rate = f"{task.speed:,.0f}/s" if task.speed else ""
        self._progress.update(self._task, advance=n, rate=rate)


class ExamplesScreen(PassObserver):
    """Shows the progress of a pass, and ends it on Ctrl-C."""

    def __init__(self, screen: Console, progress: Progress, n_tokens: int, pressed: Callable[[], bool]) -> None:
        self._screen = screen
        self._progress = progress
        self._read = Advance(progress, "tokens", n_tokens)
        self._spelled: Advance
        self._n_spelled = 0
        self._pressed = pressed

    def checked(self, check: SelfCheck) -> None:
        """Prints the result of the first check, before the rest is read."""
        self._screen.print(facts([("self-check", check_words(check))]))

    def read(self, n_tokens: int) -> None:
        """Moves the bar."""
        self._read(n_tokens)

    def stops(self) -> bool:
        """Tests if Ctrl-C was pressed."""
        return self._pressed()

    def spelled(self, of: int) -> None:
        """Moves the bar of the spellings."""
        if self._n_spelled == 0:  # once for each SAE
            self._spelled = Advance(self._progress, "spelled", of)
        self._n_spelled = (self._n_spelled + 1) % of
        self._spelled(1)


def pass_lines(collection: Collection) -> Iterator[tuple[str, str]]:
    found = collection.features.values()
    dead = sum(item.activity is not None and item.activity.n_active == 0 for item in found)
    yield "read", f"{collection.n_tokens:,} tokens of {collection.n_documents:,} documents"
    yield "features", f"{len(found):,}, {dead:,} of which never activated"


def check_words(check: SelfCheck) -> str:
    explained = "unknown" if check.explained_variance is None else f"{check.explained_variance:.3f}"
    words = f"{check.l0:.1f} features per token, explained variance {explained}, {check.n_tokens:,} tokens"
    return words if check.tells else f"{words}: too few to tell whether the SAE fits what it reads"


def reading_lines(reading: ReadResult, n_features: int) -> Iterator[tuple[str, str]]:
    n_examples = sum(len(item.examples) for item in reading.features.values())
    yield "source", f"{reading.source}, {reading.n_records:,} records"
    yield "features", f"{len(reading.features):,} of the {n_features:,} asked for, {n_examples:,} examples"


def unit_lines(found: ActivationUnit) -> Iterator[tuple[str, str]]:
    """Yields the unit of the activations; nothing if both units are nearly the same."""
    if abs(log(found.longest)) < _SAME:
        return
    of = {"sae": "the SAE's own", "length": "the SAE's own times the length of decoder rows, divided by it"}[found.unit]
    by = found.agreeing
    if by.value is None:
        yield "unit", f"{of}: assumed from the format, since only {by.n:,} peaks are informative or they disagree"
    else:
        yield "unit", f"{of}: {by.value:.2f} [{by.low:.2f}, {by.high:.2f}] of {by.n:,} peaks agree with that"


def fault_lines(sentences: Sequence[str], n: int) -> Iterator[tuple[str, str]]:
    for sentence in sentences[:TOLD_FAULTS]:
        yield "left out", sentence
    if n > TOLD_FAULTS:
        yield "left out", f"and {n - TOLD_FAULTS:,} more"
