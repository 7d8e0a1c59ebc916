"""Measures what scorers make of a judge, right and wrong: labels of a planted perfect SAE, scored through a real SDK.

    python -m tests.bench.scorer_faults

First a server that answers by rule from the known concepts: true, half-right and shuffled labels. Then the true labels
against servers that misbehave: what the report says of each.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from agent.log.scores import ScoreRow
from eval.metrics import Estimate
from eval.scoring import report
from tests.planted_scores import CHANCE, LABELS, NAMES, Scored, scored_by_rule
from tests.scorer_faults import ASKING, CASES, TRUE_LABELS, Case, Worked, work

HEADS = ("the server", "requests", "scorer", "scored", "mean", "texts left out", "unscored", "why")


def main() -> None:
    """Prints both tables, and ends with status 1 where a fault counted against a true label."""
    console = Console(width=max(Console().width, 140))
    with tempfile.TemporaryDirectory() as folder:
        console.print(_planted(scored_by_rule(Path(folder))))
        table = Table(*HEADS, title="A judge's faults")
        wrong = 0
        for number, case in enumerate(CASES):
            worked = work(case, Path(folder) / f"{number}.db")
            for row in _rows(case, worked):
                table.add_row(*row)
            wrong += sum(score.value is not None and score.value < 0.999 for score in _of_labels(worked))
    console.print(table)
    console.print(f"{len(CASES)} cases of {len(TRUE_LABELS)} true labels; {wrong} scores below 1.")
    sys.exit(int(wrong > 0))


def _planted(found: Scored) -> Table:
    table = Table("scorer", *LABELS.values(), "chance", title=f"Answers by rule, {found.n_asked:,} requests")
    for name in NAMES:
        means = (found.means[name, words] for words in LABELS.values())
        table.add_row(name, *map(_words, means), f"{CHANCE[name]:g}")
    return table


def _words(mean: Estimate) -> str:
    interval = "" if mean.low is None or mean.high is None else f" [{mean.low:.2f}, {mean.high:.2f}]"
    return f"{mean.value:.2f}{interval}"


def _rows(case: Case, worked: Worked) -> Iterator[tuple[str, ...]]:
    """A row for each scorer; those that agree in one."""
    if worked.stopped:
        yield case.name, str(worked.n_asked), "all", "0", "", "", "", worked.stopped
        return
    means = {line.scorer: line.mean for line in report.score_summaries(_of_labels(worked), 0)}
    lacks = {lack.scorer: lack for lack in _lacks(worked)}
    found: dict[tuple[str, ...], list[str]] = {}
    for name in ASKING:
        mean, lack = means.get(name), lacks[name]
        value = "" if mean is None or mean.value is None else f"{mean.value:.2f}"
        why = "; ".join(reason for reason, _ in lack.reasons)
        told = (str(lack.of - lack.n), value, _texts(lack), str(lack.n), why)
        found.setdefault(told, []).append(name)
    for number, (told, names) in enumerate(found.items()):
        heads = ("", "") if number else (case.name, str(worked.n_asked))
        yield *heads, "all" if len(names) == len(ASKING) else ", ".join(names), *told


def _lacks(worked: Worked) -> list[report.UnscoredGroup]:
    found = report.unscored(worked.scores, ASKING, len(TRUE_LABELS))
    return [lack for lack in found if lack.variant == "label"]


def _texts(lack: report.UnscoredGroup) -> str:
    return f"{lack.n_texts} of {lack.of_texts}" if lack.n_texts else ""


def _of_labels(worked: Worked) -> list[ScoreRow]:
    return [score for score in worked.scores if (score.variant, score.part) == ("label", "held_out")]


if __name__ == "__main__":
    main()
