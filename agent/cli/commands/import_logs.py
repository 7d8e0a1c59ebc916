"""`interpret import`: other logs, of runs on other machines, into this one. Loads no subject and asks nothing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from agent.cli.terminal.display import console, facts
from agent.cli.terminal.shards import shard_lines
from agent.log.corpus_shards import sharded_passes, unfinished_shards
from agent.log.merging import Merged
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, difference_words, nearest_run
from eval.calibration.applying import give_probabilities


def import_logs(target: Path, others: Sequence[Path]) -> None:
    """Merges the logs, prints the result of each, and calibrates the merged labels.

    Raises LogError; nothing is imported then.
    """
    screen = console()
    merges = RunLog.merge(target, others)
    with RunLog.open(target) as log:
        runs = log.read(all_runs)
        for merged in merges:
            screen.print(facts(_said(merged, target, runs)))
        screen.print(facts(shard_lines(sharded_passes(log.read(unfinished_shards)))))
        give_probabilities(log, runs)


def _said(merged: Merged, target: Path, runs: Sequence[RunSummary]) -> Iterator[tuple[str, str]]:
    yield "from", str(merged.path)
    yield "runs", ", ".join(_run_words(there, here, merged) for there, here in merged.runs.items()) or "none"
    for run in runs:
        if run.run_id in merged.runs.values() and run.run_id not in merged.joined:
            yield from (("apart", words) for words in _apart_words(run, runs, merged))
    rows = ", ".join(f"{n:,} {table}" for table, n in merged.added.items() if table != "texts")
    yield "added", f"{rows or 'nothing: all of it was here already'}"
    if merged.n_same:
        yield "known", f"{merged.n_same:,} labels were in {target} already"
    if merged.n_kept:
        yield "kept", f"{merged.n_kept:,} labels differ in {target} and were kept; the imported ones were left out"


def _apart_words(run: RunSummary, runs: Sequence[RunSummary], merged: Merged) -> Iterator[str]:
    """Explains why an imported run joins none in the log: its difference from the nearest of its kind."""
    came = min(here for here in merged.runs.values() if here not in merged.joined)
    before = [other for other in runs if other.run_id < came and other.kind == run.kind]
    if not before or run.kind in ("compare", "explore"):
        return
    other, unlike = nearest_run(run, before)
    why = f"it differs in {difference_words(unlike)}" if unlike else "their results for the same features differ"
    yield f"{run.run_id} was not merged with {other.run_id}: {why}"


def _run_words(there: int, here: int, merged: Merged) -> str:
    return f"{there} as {here}, joined to it" if here in merged.joined else f"{there} as {here}"
