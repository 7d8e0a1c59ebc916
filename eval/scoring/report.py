"""A scoring in a few rows: each scorer's mean over features beside its controls, and what could not be scored.

Intervals are over features; a control is compared on the features that have both, pairs kept.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

from agent.log.scores import ScoreRow
from eval.metrics import Estimate, mean, paired_difference
from eval.scorers import SCORERS
from eval.scorers.base import BECAUSE
from eval.scoring.variants import OF_FEATURES, VARIANTS

T = TypeVar("T")

NOT_REACHED = "not reached"
_CHANCE = {"balanced_accuracy": 0.5, "auroc": 0.5, "correlation": 0.0}
"""Of the metrics whose chance is the same for every feature."""
_RANGE = {
    "balanced_accuracy": (0, 1),
    "auroc": (0, 1),
    "accuracy": (0, 1),
    "average_precision": (0, 1),
    "correlation": (-1, 1),
}
_MAIN = ("label", *OF_FEATURES)
"""What is scored, and no control."""


@dataclass(frozen=True)
class ScoreSummary:
    """One scorer on one variant of the labels."""

    scorer: str
    metric: str
    part: str
    variant: str
    mean: Estimate
    """Over features; its interval goes no further than the metric does."""
    ahead: Estimate | None
    """How far the labels are ahead of this control, on the features that have both; None for the labels themselves."""
    chance: float | None
    """What guessing gives, on average over the features: where there are neighbours to choose among, it differs."""


@dataclass(frozen=True)
class UnscoredGroup:
    """The number of features without a score of a variant by a scorer, why, and the texts that others' scores leave
    out.
    """

    scorer: str
    variant: str
    n: int
    of: int
    reasons: Sequence[tuple[str, int]]
    """The most frequent first."""
    n_texts: int
    """Unscored ones of the features that have a score."""
    of_texts: int
    text_reasons: Sequence[tuple[str, int]]


def score_summaries(scores: Sequence[ScoreRow], seed: int) -> list[ScoreSummary]:
    """Every scorer, part and variant that has a score."""
    found = []
    for scorer, part in _ordered((score.scorer, score.part) for score in scores):
        mine = [score for score in scores if (score.scorer, score.part) == (scorer, part)]
        by_variant = {variant: _values(mine, variant) for variant in VARIANTS}
        metric = next((score.metric for score in mine if score.metric), "")
        chance = _chance(metric, mine)
        for variant, values in by_variant.items():
            if any(value is not None for value in values.values()):
                low, high = _range(metric)
                over = mean_of(metric, [*values.values()], seed)
                ahead = _ahead(by_variant, variant, seed)
                ahead = ahead and _within(ahead, low - high, high - low)
                found.append(ScoreSummary(scorer, metric, part, variant, over, ahead, chance))
    return found


def mean_of(metric: str, values: Sequence[float | None], seed: int) -> Estimate:
    """The mean of a score over features, wherever it is told: its interval goes no further than the metric does."""
    return _within(mean(values, seed), *_range(metric))


def unscored(scores: Sequence[ScoreRow], scorers: Iterable[str], n_features: int) -> list[UnscoredGroup]:
    """Lists what the scores lack, by scorer and variant, for so many features.

    A feature without a row was not reached: something ended the scoring before.
    """
    found = []
    for scorer, variant in product(scorers, VARIANTS):
        mine = [one for one in scores if (one.scorer, one.variant, one.part) == (scorer, variant, "held_out")]
        is_whole = variant == "label" and SCORERS[scorer].reads_label
        lack = _lack(scorer, variant, mine, n_features if is_whole else len(mine))
        if is_whole or lack.n or lack.n_texts:
            found.append(lack)
    return found


def _lack(scorer: str, variant: str, mine: Sequence[ScoreRow], of: int) -> UnscoredGroup:
    reasons = Counter(_kind_of(score.reason or "") for score in mine if score.value is None)
    if len(mine) < of:
        reasons[NOT_REACHED] = of - len(mine)
    items = [item for score in mine if score.value is not None for item in score.items]
    texts = Counter(str(item["reason"]) for item in items if item["prediction"] is None)
    return UnscoredGroup(
        scorer, variant, reasons.total(), of, reasons.most_common(), texts.total(), len(items), texts.most_common()
    )


def chance_of(metric: str) -> float | None:
    """Returns the score of guessing, if it is the same for every feature; `metric` as it is stored or as it is
    shown.
    """
    return _CHANCE.get(metric.replace(" ", "_"))


def _values(scores: Iterable[ScoreRow], variant: str) -> dict[int, float | None]:
    return {score.feature: score.value for score in scores if score.variant == variant}


def _range(metric: str) -> tuple[float, float]:
    return _RANGE.get(metric, (-math.inf, math.inf))


def _within(estimate: Estimate, lowest: float, highest: float) -> Estimate:
    """With an interval that holds nothing that the figure cannot be."""
    if estimate.low is None or estimate.high is None:
        return estimate
    return replace(estimate, low=max(estimate.low, lowest), high=min(estimate.high, highest))


def _chance(metric: str, scores: Iterable[ScoreRow]) -> float | None:
    told = [score.extra.get("chance") for score in scores if score.variant in _MAIN and score.value is not None]
    own = [chance for chance in told if chance is not None]
    return sum(own) / len(own) if own else chance_of(metric)


def _ahead(by_variant: dict[str, dict[int, float | None]], variant: str, seed: int) -> Estimate | None:
    if variant in _MAIN or not by_variant["label"]:
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
