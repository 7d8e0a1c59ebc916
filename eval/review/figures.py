"""How scores spread over features, as numbers for SVG: a histogram for the labels and for each control.

Lengths are in the units of the view box that the template draws. Knows no template.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

from agent.runlog import RunLog
from agent.store.browsing import ScoreKey
from agent.store.overview import BINS, Spread, spreads
from agent.terminal.display import VARIANT_WORDS
from eval.metrics import Estimate
from eval.scoring.report import VARIANTS

WIDTH, HEIGHT = 300, 48


@dataclass(frozen=True)
class Bar:
    """A bin."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class Histogram:
    """One variant of the labels."""

    variant: str
    is_label: bool
    bars: Sequence[Bar]
    mean: Estimate
    at: float
    """Where the mean stands."""


@dataclass(frozen=True)
class Histograms:
    """The variants of one scorer, on one scale."""

    low: float
    variants: Sequence[Histogram]


def histograms(log: RunLog, key: ScoreKey) -> Histograms:
    """The labels' scores first, then their controls."""
    found = log.ask(spreads, key)
    order = {variant: place for place, variant in enumerate(VARIANTS)}
    ranked = sorted(found.variants, key=lambda spread: order.get(spread.variant, len(order)))
    return Histograms(found.low, [_histogram(spread, found.low) for spread in ranked])


def mean_of(spread: Spread) -> Estimate:
    """The mean over features with Student's interval: with many features a bootstrap of it takes its time."""
    n = spread.n
    mean = spread.total / n
    if n < 2:
        return Estimate(mean, None, None, n)
    variance = max(spread.squares - n * mean**2, 0.0) / (n - 1)
    half = float(t.ppf(0.975, n - 1)) * math.sqrt(variance / n)
    return Estimate(mean, mean - half, mean + half, n)


def _histogram(spread: Spread, low: float) -> Histogram:
    mean = mean_of(spread)
    tallest = max(spread.bins)
    bars = [_bar(place, count, count / tallest, low) for place, count in enumerate(spread.bins) if count]
    at = WIDTH * ((mean.value or 0.0) - low) / (1 - low)
    words = VARIANT_WORDS.get(spread.variant, spread.variant)
    return Histogram(words, spread.variant == "label", bars, mean, round(at, 1))


def _bar(place: int, count: int, share: float, low: float) -> Bar:
    width, step = WIDTH / BINS, (1 - low) / BINS
    height = round(max(share * HEIGHT, 1.0), 1)
    words = f"{low + place * step:.2f} to {low + (place + 1) * step:.2f}: {count:,}"
    return Bar(round(place * width, 1), round(HEIGHT - height, 1), round(width - 1, 1), height, words)
