"""The distribution of scores over features, as numbers for SVG: the labels', their main control's, and means.

Lengths are in the units of the view box that the template draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.log.run_log import RunLog
from agent.log.scores import BINS, ScoreKind, Spread, spreads_of
from agent.web.axis import Axis, axis_over
from eval.metrics import Estimate
from eval.scoring.report import chance_of, mean_of
from eval.scoring.variants import VARIANTS, variant_words

WIDTH, HEIGHT = 480, 110
_CONTROL = "shuffled"


@dataclass(frozen=True)
class Bar:
    """A bin of the labels' scores."""

    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True)
class Mean:
    """The mean score of one variant of the labels."""

    variant: str
    is_label: bool
    estimate: Estimate
    at: float
    low: float | None
    high: float | None
    """Positions of the mean and of its interval's ends."""


@dataclass(frozen=True)
class ScoreHistogram:
    """The histogram of one scorer. Heights are proportions of the scored features, comparable between variants."""

    bars: Sequence[Bar]
    outline: str
    """The main control as a path of steps; empty if it was not scored."""
    control: str
    axis: Axis
    chance: float | None
    """Position of chance."""
    means: Sequence[Mean]

    @property
    def label(self) -> Mean | None:
        """Returns the labels' own mean."""
        return next((mean for mean in self.means if mean.is_label), None)

    @property
    def against(self) -> Mean | None:
        """Returns the main control's mean."""
        return next((mean for mean in self.means if mean.variant == self.control), None)


def histogram(log: RunLog, kind: ScoreKind) -> ScoreHistogram | None:
    """Makes the histogram of scores with their control; None if there is none on held-out examples."""
    found = log.read(spreads_of, kind.key)
    order = {variant: place for place, variant in enumerate(VARIANTS)}
    ranked = sorted(found.variants, key=lambda spread: order.get(spread.variant, len(order)))
    if not ranked:
        return None
    axis = axis_over([found.low, 1.0], WIDTH)
    by_variant = {spread.variant: spread for spread in ranked}
    label, control = by_variant.get("label"), by_variant.get(_CONTROL)
    shares = (max(spread.bins) / spread.n for spread in (label, control) if spread is not None and spread.n)
    tallest = max(shares, default=1.0)
    chance = chance_of(kind.metric)
    return ScoreHistogram(
        bars=[] if label is None else _bars(label, tallest, found.low),
        outline="" if control is None else _outline(control, tallest),
        control=_words(_CONTROL),
        axis=axis,
        chance=None if chance is None else axis.at(chance),
        means=[_mean(spread, kind, axis) for spread in ranked],
    )


def first_histogram(log: RunLog, kinds: Sequence[ScoreKind]) -> tuple[ScoreKind, ScoreHistogram] | None:
    """Makes the histogram of the first scorer that has scores."""
    for kind in kinds:
        if (drawn := histogram(log, kind)) is not None:
            return kind, drawn
    return None


def _mean(spread: Spread, kind: ScoreKind, axis: Axis) -> Mean:
    found = mean_of(kind.metric, spread.values, kind.seed)
    low, high = (None if end is None else axis.at(end) for end in (found.low, found.high))
    return Mean(_words(spread.variant), spread.variant == "label", found, axis.at(found.value or 0.0), low, high)


def _words(variant: str) -> str:
    return variant_words(variant)


def _bars(spread: Spread, tallest: float, low: float) -> list[Bar]:
    width, step = WIDTH / BINS, (1 - low) / BINS
    bars = []
    for place, count in enumerate(spread.bins):
        height = round(HEIGHT * count / spread.n / tallest, 1)
        words = f"{low + place * step:.2f} to {low + (place + 1) * step:.2f}: {count:,}"
        if count:
            bars.append(Bar(round(place * width + 1, 1), round(HEIGHT - height, 1), round(width - 2, 1), height, words))
    return bars


def _outline(spread: Spread, tallest: float) -> str:
    """Returns a path of steps from the left end to the right one."""
    width = WIDTH / BINS
    path = f"M0 {HEIGHT}"
    for place, count in enumerate(spread.bins):
        path += f"V{HEIGHT - HEIGHT * count / spread.n / tallest:.1f}H{(place + 1) * width:g}"
    return f"{path}V{HEIGHT}"
