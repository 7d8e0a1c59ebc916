"""`interpret import`: other logs, of runs on other machines, into this one. Loads no subject and asks nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.runlog import Merged, RunLog, ScoringIdentity
from agent.terminal.display import console, facts
from eval.calibration.giving import give_probabilities
from eval.scoring.judge import TEMPLATES
from prompts import template_hashes


def import_logs(target: Path, others: Sequence[Path]) -> None:
    """Merges them, prints what came of each, and gives labels the probability that they are right.

    Raises LogError; nothing is imported then.
    """
    screen = console()
    for merged in RunLog.merge(target, others, scoring_identity):
        screen.print(facts(_said(merged, target)))
    with RunLog.open(target) as log:
        give_probabilities(log, log.runs())


def scoring_identity(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The identity of a scoring under the numbers that its run and corpus have here.

    A scoring is known again by `interpret score` if the prompts that its judge was asked are still the same; else the
    identity is made of the old one, and matches none but its own.
    """
    for names in ((), TEMPLATES):
        if _identity(there, template_hashes(names)).hash == there["identity"]:
            return _identity(here, template_hashes(names)).hash
    return _identity(here, {"as it was": there["identity"]}).hash


def _identity(row: Mapping[str, Any], templates: dict[str, str]) -> ScoringIdentity:
    return ScoringIdentity(
        run_id=row["run_id"],
        corpus_id=row["corpus_id"],
        judge=row["judge"],
        settings=json.loads(row["settings"]),
        templates=templates,
    )


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
