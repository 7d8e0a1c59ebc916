"""The unit of another tool's activations, and the same activations in the SAE's own, in which features are steered.

Some tools bring decoder rows to length 1 before they read texts (SAELens' `fold_W_dec_norm`): their activations are the
SAE's own times the length of the feature's row. Files do not say, so the subject's own activations at the peaks tell,
where rows are long or short enough; else it is taken to be as those who write the format mostly have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import get_args

import torch

from eval.collect.own_texts import Peak, check_own, read_peaks
from eval.metrics import Estimate, proportion
from eval.readers.base import Unit
from probes.columns import COMPARING
from probes.examples import Activity, Example, FeatureExamples
from probes.sae import SAE
from probes.steering import written_rows
from probes.subject import Subject

_ALIKE = log(1.25)
"""Of two activations at one token: what was read before it may have been cut off, and number formats differ."""
_APART = 2 * _ALIKE
"""Of what both units make of an activation, so that it cannot be like both."""
_MIN_PEAKS = 3
"""Peaks that tell the units apart, below which they are not asked."""


@dataclass(frozen=True)
class ActivationUnit:
    """The unit that activations were in, and what it rests on."""

    unit: Unit
    agreeing: Estimate
    """Share of the peaks that tell units apart which are in it; without a value where too few are."""
    longest: float
    """The length of a decoder row, of the features at hand, that is furthest from 1."""


def in_own_unit(
    subject: Subject, found: Mapping[int, FeatureExamples], custom: Unit
) -> tuple[dict[int, FeatureExamples], ActivationUnit]:
    """The features with activations in the SAE's own unit; `custom` is the unit they have where they do not tell.

    Raises ExamplesError where they are of another subject.
    """
    peaks = read_peaks(subject, found)
    check_own(subject, peaks)
    lengths = folded_lengths(subject.sae, [*found])
    unit = unit_of(peaks, lengths, "sae" if _is_never_folded(subject.sae) else custom)
    if unit.unit == "sae":
        return dict(found), unit
    return {feature: _times(one, 1 / lengths[feature]) for feature, one in found.items()}, unit


def folded_lengths(sae: SAE, features: Sequence[int]) -> dict[int, float]:
    """Returns the factors of activations after decoder rows are brought to length 1; 1 for rows of length 0.

    The factor that the SAE's input is multiplied by has been folded into its rows before that.
    """
    lengths = written_rows(sae, features).norm(dim=-1) / sae.input_scale
    return dict(zip(features, torch.where(lengths > 0, lengths, 1.0).tolist(), strict=True))


def _is_never_folded(sae: SAE) -> bool:
    """Tells whether tools leave an SAE's rows unfolded, because its active features would change with their length."""
    return sae.config.architecture in COMPARING and not sae.config.scales_by_decoder_norm


def unit_of(peaks: Sequence[Peak], lengths: Mapping[int, float], custom: Unit) -> ActivationUnit:
    """The unit that most of the peaks agree with which tell units apart, else the custom one."""
    longest = max(lengths.values(), key=lambda length: abs(log(length)), default=1.0)
    telling = [peak for peak in peaks if peak.own > 0 and abs(log(lengths[peak.feature])) > _APART]
    agreeing = {unit: sum(_is_in(unit, peak, lengths[peak.feature]) for peak in telling) for unit in get_args(Unit)}
    most: Unit = max(agreeing, key=lambda unit: agreeing[unit])
    if len(telling) < _MIN_PEAKS or 2 * agreeing[most] <= len(telling):
        return ActivationUnit(custom, Estimate(None, None, None, len(telling), "too few peaks tell"), longest)
    return ActivationUnit(most, proportion(agreeing[most], len(telling)), longest)


def _is_in(unit: Unit, peak: Peak, length: float) -> bool:
    expected = peak.own * (length if unit == "length" else 1.0)
    return abs(log(peak.claimed / expected)) <= _ALIKE


def _times(found: FeatureExamples, factor: float) -> FeatureExamples:
    return replace(
        found,
        activity=None if found.activity is None else _activity_times(found.activity, factor),
        examples=tuple(_example_times(example, factor) for example in found.examples),
    )


def _activity_times(activity: Activity, factor: float) -> Activity:
    edges = tuple(edge * factor for edge in activity.edges)
    return replace(activity, maximum=activity.maximum * factor, edges=edges)


def _example_times(example: Example, factor: float) -> Example:
    return replace(example, activations=tuple(value * factor for value in example.activations))
