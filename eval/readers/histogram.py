"""Derives a feature's density from the histogram that SAEDashboard makes and Neuronpedia stores.

Bars are counts of active tokens over equally wide bins; `freq_hist_data_bar_values` are the bins' middles. How many
tokens were looked at is not stored with them, but the share of active ones is, rounded to 1e-5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from eval.readers.checks import as_number
from probes.examples import Activity

NO_HISTOGRAM = (
    "how often the feature activates is unknown, for it has no usable `frac_nonzero` and `freq_hist_data_bar_...`"
)
"""What to say where `histogram_of` found none."""


@dataclass(frozen=True)
class ActivityHistogram:
    """A feature's active tokens by activation, as stored."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    share_active: float
    maximum: float

    @property
    def n_active(self) -> int:
        """Tokens the feature activated on."""
        return sum(self.counts)


def histogram_of(record: Mapping[str, Any]) -> ActivityHistogram | None:
    """The histogram in a feature's record; None where it has none, or one whose bars are no counts."""
    share = as_number(record.get("frac_nonzero"))
    middles = _numbers(record.get("freq_hist_data_bar_values"))
    heights = _numbers(record.get("freq_hist_data_bar_heights"))
    if share is None or not 0 <= share <= 1 or middles is None or heights is None or len(middles) != len(heights):
        return None
    if any(height < 0 or height != round(height) for height in heights):
        return None
    counts = tuple(map(round, heights))
    if not any(counts):
        return ActivityHistogram((0.0,), (), 0.0, 0.0) if share == 0 else None
    edges = _edges(middles)
    if edges is None:
        return None
    return ActivityHistogram(edges, counts, share, as_number(record.get("maxActApprox")) or edges[-1])


def tokens_seen(histograms: Mapping[int, ActivityHistogram]) -> int | None:
    """Estimates how many tokens a source looked at, the same for all its features: the most active one tells it best.

    None where no feature activated often enough for its share not to be rounded to 0.
    """
    most = max(histograms.values(), key=lambda histogram: histogram.share_active, default=None)
    return round(most.n_active / most.share_active) if most and most.share_active else None


def activity(feature: int, histogram: ActivityHistogram, n_tokens: int | None) -> Activity | None:
    """Returns the feature's activity over `n_tokens`; None if that number is unknown, or the bars contradict it."""
    if not n_tokens or histogram.n_active > n_tokens:
        return None
    return Activity(
        feature=feature,
        n_tokens=n_tokens,
        n_active=histogram.n_active,
        maximum=histogram.maximum,
        edges=histogram.edges,
        counts=histogram.counts,
    )


def _numbers(value: Any) -> list[float] | None:
    if not isinstance(value, list):
        return None
    numbers = [number for item in value if (number := as_number(item)) is not None]
    return numbers if len(numbers) == len(value) else None


def _edges(middles: list[float]) -> tuple[float, ...] | None:
    """Bounds of the bins with these middles; None where they do not rise. One bin alone reaches down to 0."""
    half = (middles[-1] - middles[0]) / (len(middles) - 1) / 2 if len(middles) > 1 else middles[0]
    edges = (*(middle - half for middle in middles), middles[-1] + half)
    return edges if half > 0 and all(a < b for a, b in pairwise(edges)) else None
