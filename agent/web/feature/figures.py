"""Figures of a feature's page as numbers for SVG: its histogram of activations, its scores and their controls.

Lengths are in the units of the view boxes that the templates draw.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.evidence.printable import printable
from agent.log.scores import ScoreRow
from eval.scoring.report import chance_of
from eval.scoring.variants import VARIANTS, variant_words
from probes.examples import Activity

HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 320, 80
SCALE_WIDTH = 100

_MAIN_CONTROL = variant_words("shuffled")


@dataclass(frozen=True)
class HistogramBin:
    """A bin of the histogram; its height grows with the log of its count."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class ScoreLine:
    """A score on a scale `SCALE_WIDTH` long; fields that are None are not drawn."""

    variant: str
    label: str
    value: str
    interval: str
    n: int
    reason: str
    at: float | None
    low: float | None
    high: float | None
    is_label: bool


@dataclass(frozen=True)
class ScoreBlock:
    """A scorer on one part of the texts: the label first, its controls below."""

    scorer: str
    metric: str
    texts: str
    left: str
    right: str
    """Values at the ends of the scale."""
    chance: float | None
    """Position of chance."""
    lines: tuple[ScoreLine, ...]


def histogram(activity: Activity) -> tuple[HistogramBin, ...]:
    """Makes the bins from the first to the last that is not empty."""
    filled = [place for place, count in enumerate(activity.counts) if count]
    if not filled:
        return ()
    places = range(filled[0], filled[-1] + 1)
    tallest = math.log1p(max(activity.counts))
    width = HISTOGRAM_WIDTH / len(places)
    return tuple(
        _column(activity, place, column * width, width, math.log1p(activity.counts[place]) / tallest)
        for column, place in enumerate(places)
    )


@dataclass(frozen=True)
class Headline:
    """The score that stands for the label, with its control where there is one."""

    block: ScoreBlock
    label: ScoreLine
    control: ScoreLine | None


def headline(blocks: Sequence[ScoreBlock]) -> Headline | None:
    """Returns the label's score by the first scorer, beside another feature's label on the same examples."""
    for block in blocks:
        label = next((line for line in block.lines if line.is_label and line.at is not None), None)
        controls = [line for line in block.lines if not line.is_label and line.at is not None]
        if label:
            return Headline(block, label, next((one for one in controls if one.variant == _MAIN_CONTROL), None))
    return None


def score_blocks(scores: Sequence[ScoreRow]) -> list[ScoreBlock]:
    """Makes blocks of one label's scores, scorer by scorer."""
    keys = dict.fromkeys((score.scorer, score.part) for score in scores)
    return [_block([score for score in scores if (score.scorer, score.part) == key]) for key in keys]


def _column(activity: Activity, place: int, x: float, width: float, share: float) -> HistogramBin:
    height = share * HISTOGRAM_HEIGHT
    words = f"{activity.edges[place]:.3g} to {activity.edges[place + 1]:.3g}: {activity.counts[place]:,} tokens"
    y = HISTOGRAM_HEIGHT - height
    return HistogramBin(round(x, 2), round(y, 2), round(max(width - 1, width / 2), 2), round(height, 2), words)


def _block(scores: Sequence[ScoreRow]) -> ScoreBlock:
    metric = next((score.metric for score in scores if score.metric), "")
    least = -1.0 if metric == "correlation" else 0.0
    chance = next((c for s in scores if (c := s.extra.get("chance")) is not None), chance_of(metric))
    order = {variant: place for place, variant in enumerate(VARIANTS)}
    ranked = sorted(scores, key=lambda score: order.get(score.variant, len(order)))
    return ScoreBlock(
        scorer=scores[0].scorer,
        metric=metric.replace("_", " "),
        texts=scores[0].part.replace("_", " "),
        left=f"{least:g}",
        right="1",
        chance=_at(chance, least),
        lines=tuple(_line(score, least) for score in ranked),
    )


def _line(score: ScoreRow, least: float) -> ScoreLine:
    has_interval = score.low is not None and score.high is not None
    return ScoreLine(
        variant=variant_words(score.variant),
        label=printable(score.label),
        value="" if score.value is None else f"{score.value:.2f}",
        interval=f"[{score.low:.2f}, {score.high:.2f}]" if has_interval else "",
        n=score.n,
        reason=printable(score.reason or ""),
        at=_at(score.value, least),
        low=_at(score.low, least),
        high=_at(score.high, least),
        is_label=score.variant == "label",
    )


def _at(value: float | None, least: float) -> float | None:
    if value is None:
        return None
    return round(SCALE_WIDTH * min(max((value - least) / (1 - least), 0.0), 1.0), 2)
