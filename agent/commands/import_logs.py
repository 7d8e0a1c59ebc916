"""`interpret import`: other logs, of runs on other machines, into this one. Loads no subject and asks nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.runlog import Merged, RunLog
from agent.terminal.display import console, facts
from eval.calibration.giving import give_probabilities


def import_logs(target: Path, others: Sequence[Path]) -> None:
    """Merges them, prints what came of each, and gives labels the probability that they are right.

    Raises LogError; nothing is imported then.
    """
    screen = console()
    for merged in RunLog.merge(target, others):
        screen.print(facts(_said(merged, target)))
    with RunLog.open(target) as log:
        give_probabilities(log, log.runs())


def _said(merged: Merged, target: Path) -> Iterator[tuple[str, str]]:
    yield "from", str(merged.path)
    yield "runs", ", ".join(_run_words(there, here, merged) for there, here in merged.runs.items()) or "none"
    rows = ", ".join(f"{n:,} {table}" for table, n in merged.added.items() if table != "texts")
    yield "added", f"{rows or 'nothing: all of it was here already'}"
    if merged.n_same:
        yield "known", f"{merged.n_same:,} labels were in {target} already"
    if merged.n_kept:
        yield "kept", f"{merged.n_kept:,} labels read otherwise in {target} and stand; the others' wording was left out"


def _run_words(there: int, here: int, merged: Merged) -> str:
    return f"{there} as {here}, joined to it" if here in merged.joined else f"{there} as {here}"
