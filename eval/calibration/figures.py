"""Judges stated probabilities by outcomes: calibration error, Brier score, log loss, risk against coverage.

Intervals are of 95 %, by a bootstrap over groups, since labels of one group are no independent observations; shares
have E. B. Wilson's.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from eval.metrics import RESAMPLES, Estimate, auroc, proportion

Array = np.ndarray
BINS = 10
"""Of equal width, as is usual for the expected calibration error (C. Guo and others, 2017)."""
COVERAGES = (0.25, 0.5, 0.75, 1.0)
_MIN_IN_BIN = 10
_SURE = 1e-6
"""A stated 0 or 1 costs as much as this far from it, not infinitely much."""


@dataclass(frozen=True)
class StatedProbabilities:
    """Probabilities with what turned out, one of each for every label."""

    probabilities: Sequence[float]
    truth: Sequence[bool]
    groups: Sequence[str]


@dataclass(frozen=True)
class CalibrationMeasure:
    """One figure, before and after."""

    name: str
    before: Estimate
    after: Estimate
    change: Estimate
    """After less before, labels paired."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The labels of which about the same was said."""

    low: float
    high: float
    said: float
    """The mean of what was said of them."""
    right: Estimate
    """The share of them that are right."""


@dataclass(frozen=True)
class CoveragePoint:
    """The labels that were said to be likeliest right, down to a threshold."""

    threshold: float
    coverage: float
    """Their share of all."""
    risk: Estimate
    """The share of them that are wrong."""


def measures(before: StatedProbabilities, after: StatedProbabilities, seed: int) -> list[CalibrationMeasure]:
    """Each figure of what was stated and of what a map made of it, on the same labels."""
    weights = _drawn(after.groups, seed)
    found = [_measure(name, of, before, after, weights) for name, of in _MEASURES.items()]
    change = Estimate(None, None, None, len(after.truth), "two areas on the same labels are no independent figures")
    ranks = [auroc(said.truth, said.probabilities) for said in (before, after)]
    return [*found, CalibrationMeasure("AUROC", ranks[0], ranks[1], change)]


def expected_calibration_error(said: StatedProbabilities) -> float:
    """The mean distance of what was said and what is so over bins, each weighed by its labels."""
    return float(_calibration_errors(said, np.ones((1, len(said.truth))))[0])


def error_by_chance(said: StatedProbabilities, seed: int) -> float:
    """The mean calibration error that perfect probabilities show on as many labels, by nothing but chance."""
    p = np.asarray(said.probabilities)
    dice = np.random.default_rng(seed).random((RESAMPLES, len(p)))
    gaps = (dice < p) - p
    binned = np.stack([np.abs(gaps[:, _bins(p) == b].sum(axis=1)) for b in range(BINS)])
    return float(binned.sum(axis=0).mean() / len(p))


def reliability(said: StatedProbabilities) -> list[ReliabilityBin]:
    """Compares stated probabilities with outcomes, bin by bin; empty bins are left out."""
    p, y, place = np.asarray(said.probabilities), np.asarray(said.truth), _bins(said.probabilities)
    return [
        ReliabilityBin(
            b / BINS, (b + 1) / BINS, float(p[place == b].mean()), proportion(int(y[place == b].sum()), int(n))
        )
        for b in range(BINS)
        if (n := (place == b).sum())
    ]


def even_bins(said: StatedProbabilities) -> list[ReliabilityBin]:
    """The same over bins of about as many labels each, for a picture: those of which the same was said in one."""
    p, y = np.asarray(said.probabilities), np.asarray(said.truth)
    order = np.argsort(p, kind="stable")
    least = max(_MIN_IN_BIN, -(-len(p) // BINS))
    ends = [end for end in range(1, len(p) + 1) if end == len(p) or p[order[end]] > p[order[end - 1]]]
    cuts = [0]
    for end in ends:
        if end - cuts[-1] >= least:
            cuts.append(end)
    if cuts[-1] < len(p):  # the rest is too few, and goes to the bin before it
        cuts = [*(cuts[:-1] or [0]), len(p)]
    places = [order[start:end] for start, end in pairwise(cuts)]
    return [
        ReliabilityBin(
            float(p[at].min()), float(p[at].max()), float(p[at].mean()), proportion(int(y[at].sum()), len(at))
        )
        for at in places
    ]


def coverage_points(said: StatedProbabilities) -> list[CoveragePoint]:
    """Risk against coverage: at every probability that was said, all labels of which at least as much was said."""
    p, y = np.asarray(said.probabilities), np.asarray(said.truth)
    return [_coverage_point(float(threshold), y[p >= threshold], len(y)) for threshold in np.unique(p)[::-1]]


def at_coverages(found: Sequence[CoveragePoint]) -> Iterator[tuple[float, CoveragePoint]]:
    """The first of the covers that reaches each of a few coverages."""
    for coverage in COVERAGES:
        yield coverage, next(cover for cover in found if cover.coverage >= coverage - 1e-9)


def _coverage_point(threshold: float, right: Array, n: int) -> CoveragePoint:
    return CoveragePoint(threshold, len(right) / n, proportion(int((~right).sum()), len(right)))


def _measure(
    name: str,
    of: Callable[[StatedProbabilities, Array], Array],
    before: StatedProbabilities,
    after: StatedProbabilities,
    weights: Float[Array, "k n"],
) -> CalibrationMeasure:
    """`of` takes labels by their weights: once as they are, then as they were drawn."""
    as_is = np.ones((1, len(after.truth)))
    values = [float(of(said, as_is)[0]) for said in (before, after)]
    drawn = [of(said, weights) for said in (before, after)]
    groups, n = len({*after.groups}), len(after.truth)
    bounds = [*map(_centred, values, drawn), _centred(values[1] - values[0], drawn[1] - drawn[0])]
    figures = [*values, values[1] - values[0]]
    if groups < 2:
        bounds = [(None, None)] * len(figures)
    least = (0.0, 0.0, -math.inf)
    return CalibrationMeasure(
        name,
        *(
            Estimate(value, None if low is None else max(low, floor), high, n)
            for value, (low, high), floor in zip(figures, bounds, least, strict=True)
        ),
    )


def _centred(value: float, drawn: Array) -> tuple[float | None, float | None]:
    """The middle 95 % of what was drawn, moved so that its mean is the figure itself.

    Drawing anew adds to a calibration error what drawing the labels has added once already.
    """
    low, high = np.percentile(drawn - drawn.mean(), [2.5, 97.5])
    return value + float(low), value + float(high)


def _drawn(groups: Sequence[str], seed: int) -> Float[Array, "resamples n"]:
    """Counts how often each label is drawn when as many groups as there are are drawn with replacement."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    weights: Array = drawn[:, place].astype(np.float64)
    return weights


def _bins(probabilities: Sequence[float] | Array) -> Array:
    place: Array = np.clip((np.asarray(probabilities) * BINS).astype(int), 0, BINS - 1)
    return place


def _calibration_errors(said: StatedProbabilities, weights: Float[Array, "k n"]) -> Float[Array, " k"]:
    gaps, place = np.asarray(said.truth) - np.asarray(said.probabilities), _bins(said.probabilities)
    sums = np.stack([np.abs(weights[:, place == b] @ gaps[place == b]) for b in range(BINS)])
    errors: Array = sums.sum(axis=0) / weights.sum(axis=1)
    return errors


def _means(losses: Float[Array, " n"], weights: Float[Array, "k n"]) -> Float[Array, " k"]:
    means: Array = weights @ losses / weights.sum(axis=1)
    return means


def _brier(said: StatedProbabilities, weights: Float[Array, "k n"]) -> Float[Array, " k"]:
    return _means((np.asarray(said.truth) - np.asarray(said.probabilities)) ** 2, weights)


def _log_loss(said: StatedProbabilities, weights: Float[Array, "k n"]) -> Float[Array, " k"]:
    p = np.clip(np.asarray(said.probabilities), _SURE, 1 - _SURE)
    return _means(-np.log(np.where(np.asarray(said.truth), p, 1 - p)), weights)


_MEASURES: dict[str, Callable[[StatedProbabilities, Array], Array]] = {
    "expected calibration error": _calibration_errors,
    "Brier score": _brier,
    "log loss": _log_loss,
}
