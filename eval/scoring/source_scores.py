"""Scores that sources give labels of their own, in a few rows beside ours.

They rest on other texts than ours and mostly on another judge, so no difference is tested.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.log.scores import ScoreRow
from eval.metrics import Estimate
from eval.scoring.report import mean_of
from probes.examples import FeatureExamples


@dataclass(frozen=True)
class SourceScore:
    """The scores of a source by one of its scorers."""

    author: str
    scorer: str
    metric: str
    mean: Estimate
    """Over features."""
    ours: Estimate | None
    """Our labels' scores by the scorer of that name on the same features; None where there are none."""


def source_scores(found: Iterable[FeatureExamples], scores: Sequence[ScoreRow], seed: int) -> list[SourceScore]:
    """Lists the sources' scores by author and scorer; of several labels of a feature by one author, the first's."""
    values: dict[tuple[str, str, str], dict[int, float]] = {}
    for one in found:
        for baseline in one.baselines:
            for score in baseline.scores:
                of = values.setdefault((baseline.author, score["scorer"], score["metric"]), {})
                of.setdefault(one.feature, score["value"])
    return [
        SourceScore(author, scorer, metric, mean_of(metric, [*of.values()], seed), _ours(scorer, of, scores, seed))
        for (author, scorer, metric), of in sorted(values.items())
    ]


def _ours(scorer: str, features: Iterable[int], scores: Sequence[ScoreRow], seed: int) -> Estimate | None:
    wanted = {*features}
    mine = [
        one
        for one in scores
        if (one.scorer, one.variant, one.part) == (scorer, "label", "held_out") and one.feature in wanted
    ]
    values = [one.value for one in mine if one.value is not None]
    return mean_of(mine[0].metric, values, seed) if values else None
