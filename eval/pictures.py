"""A scoring as a picture: each scorer's mean beside its controls, and how the values of single features spread."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from agent.log.scores import ScoreRow
from eval.plots import IntervalPanel, PlotPoint, PlotRow, PlotValues, interval_rows
from eval.scoring.report import ScoreSummary, chance_of, score_summaries
from eval.scoring.variants import OF_FEATURES, variant_words

_TEXTS = {"held_out": "held-out examples", "new_words": "new words"}
_SPREAD = ("label", "shuffled")
"""Variants whose single values are drawn."""


def score_figure(scores: Sequence[ScoreRow], seed: int, title: str = "") -> Figure:
    """A panel for each scorer and part of the texts; intervals of means are bootstraps over features."""
    found = score_summaries(scores, seed)
    groups = dict.fromkeys((line.scorer, line.part) for line in found)
    panels = [_panel(scores, [line for line in found if (line.scorer, line.part) == group]) for group in groups]
    return interval_rows(panels, title)


def _panel(scores: Sequence[ScoreRow], mine: Sequence[ScoreSummary]) -> IntervalPanel:
    first = mine[0]
    return IntervalPanel(
        title=f"{first.scorer}, {_TEXTS.get(first.part, first.part)}: mean {first.metric}",
        rows=[_row(line) for line in mine],
        reference=chance_of(first.metric),
        spread=[
            PlotValues(_words(variant), values) for variant in _SPREAD if (values := _values(scores, first, variant))
        ],
    )


def _row(line: ScoreSummary) -> PlotRow:
    mean = line.mean
    point = None if mean.value is None else PlotPoint(mean.value, mean.low, mean.high)
    note = f"n = {mean.n:,}" if point else mean.reason or ""
    return PlotRow(_words(line.variant), point, note, is_main=line.variant in ("label", *OF_FEATURES))


def _values(scores: Sequence[ScoreRow], line: ScoreSummary, variant: str) -> list[float]:
    return [
        score.value
        for score in scores
        if (score.scorer, score.part, score.variant) == (line.scorer, line.part, variant) and score.value is not None
    ]


def _words(variant: str) -> str:
    return variant_words(variant)
