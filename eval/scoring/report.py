"""A scoring in a few rows: each scorer's mean over features beside its controls, and what could not be scored.

Intervals are bootstraps over features; a control is compared on the features that have both, pairs kept. Knows no log
and no terminal.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent.runlog import ScoreRow
from eval.metrics import Estimate, mean, paired_difference
from eval.scorers.base import BECAUSE

T = TypeVar("T")

VARIANTS = ("label", "first", "known", "one_shot", "baseline", "tokens", "shuffled")
"""In the order of a report."""

CHANCE = {"auroc": 0.5, "balanced accuracy": 0.5, "correlation": 0.0}
"""What guessing gives, by metric."""


@dataclass(frozen=True)
class Line:
    """One scorer on one variant of the labels."""

    scorer: str
    metric: str
    part: str
    variant: str
    mean: Estimate
    """Over features."""
    ahead: Estimate | None
    """How far the labels are ahead of this control, on the features that have both; None for the labels themselves."""


@dataclass(frozen=True)
class Unscored:
    """Why how many of the labels have no score by a scorer."""

    scorer: str
    n: int
    of: int
    reasons: Sequence[tuple[str, int]]
    """The most frequent first."""


def lines(scores: Sequence[ScoreRow], seed: int) -> list[Line]:
    """Every scorer, part and variant that has a score."""
    found = []
    for scorer, part in _ordered((score.scorer, score.part) for score in scores):
        mine = [score for score in scores if (score.scorer, score.part) == (scorer, part)]
        by_variant = {variant: _values(mine, variant) for variant in VARIANTS}
        metric = next((score.metric for score in mine if score.metric), "")
        found += [
            Line(scorer, metric, part, variant, mean([*values.values()], seed), _ahead(by_variant, variant, seed))
            for variant, values in by_variant.items()
            if any(value is not None for value in values.values())
        ]
    return found


def unscored(scores: Iterable[ScoreRow]) -> list[Unscored]:
    """What the labels lack, by scorer; controls are left out."""
    labels = [score for score in scores if (score.variant, score.part) == ("label", "held_out")]
    found = []
    for scorer in _ordered(score.scorer for score in labels):
        mine = [score for score in labels if score.scorer == scorer]
        reasons = Counter(_kind_of(score.reason or "") for score in mine if score.value is None)
        found.append(Unscored(scorer, reasons.total(), len(mine), reasons.most_common()))
    return found


def _values(scores: Iterable[ScoreRow], variant: str) -> dict[int, float | None]:
    return {score.feature: score.value for score in scores if score.variant == variant}


def _ahead(by_variant: dict[str, dict[int, float | None]], variant: str, seed: int) -> Estimate | None:
    if variant == "label":
        return None
    labels, control = by_variant["label"], by_variant[variant]
    both = sorted(labels.keys() & control.keys())
    return paired_difference([labels[f] for f in both], [control[f] for f in both], seed)


def _kind_of(reason: str) -> str:
    """A reason without what is the feature's alone, so that like ones are counted together: why its texts are unscored
    where they are, since without them nothing else is known either."""
    _, texts_unscored, why = reason.partition(BECAUSE)
    return why if texts_unscored else reason.partition(";")[0]


def _ordered(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
