"""Measures how far two reviewers agree beyond chance: Cohen's kappa over the labels that both have judged.

An accepted label and an edited one count alike: the question is whether the label can stand, in its words or in others
close to them, or not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from agent.log.reviews import Verdict
from eval.metrics import RESAMPLES, Estimate

_MIN_DEFINED = 0.95
"""Share of resamples that must be defined for their spread to mean anything."""


@dataclass(frozen=True)
class ReviewerAgreement:
    """The agreement of two reviewers."""

    one: str
    other: str
    kappa: Estimate
    """Kappa; its n is the number of labels that both have judged."""
    n_agreed: int


def agreements(verdicts: Mapping[str, Mapping[int, Verdict]], seed: int) -> list[ReviewerAgreement]:
    """Returns every pair of reviewers with a label that both judged, from `verdicts` by reviewer and label."""
    found = []
    for one, other in combinations(sorted(verdicts), 2):
        both = sorted(verdicts[one].keys() & verdicts[other].keys())
        if both:
            pairs = [(verdicts[one][label] != "reject", verdicts[other][label] != "reject") for label in both]
            found.append(ReviewerAgreement(one, other, kappa(pairs, seed), sum(a == b for a, b in pairs)))
    return found


def kappa(pairs: Sequence[tuple[bool, bool]], seed: int) -> Estimate:
    """(observed - expected agreement) / (1 - expected), J. Cohen 1960; the interval is a bootstrap over labels.

    Resampling labels is drawing how often each of the four combinations comes up, from a multinomial.
    """
    n, counts = len(pairs), Counter(pairs)
    cells = np.array([counts[a, b] for a in (True, False) for b in (True, False)], dtype=np.float64)
    value = float(_kappas(cells)) if n else np.nan
    if np.isnan(value):
        return Estimate(None, None, None, n, "both gave every label the same verdict: chance alone would agree")
    drawn = _kappas(np.random.default_rng(seed).multinomial(n, cells / n, size=RESAMPLES).astype(np.float64))
    defined = drawn[~np.isnan(drawn)]
    if n < 2 or len(defined) < _MIN_DEFINED * RESAMPLES:
        return Estimate(value, None, None, n)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, float(low), float(high), n)


def _kappas(cells: Float[np.ndarray, "*k 4"]) -> Float[np.ndarray, "*k"]:
    """Kappa of counts of (yes, yes), (yes, no), (no, yes), (no, no); NaN where chance alone would always agree."""
    yes_yes, yes_no, no_yes, no_no = np.moveaxis(cells, -1, 0)
    n = cells.sum(axis=-1)
    observed = (yes_yes + no_no) / n
    expected = ((yes_yes + yes_no) * (yes_yes + no_yes) + (no_yes + no_no) * (yes_no + no_no)) / n**2
    room = np.where(expected < 1, 1 - expected, np.nan)
    return np.asarray((observed - expected) / room)
