"""Checks that another tool's texts are this subject's own: where it says a feature peaks, the feature is active here.

A text of another subject mostly has no activation at that very token; elsewhere in it one often has, which says
nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from eval.collect.corpus_pass import PoolWindow
from eval.collect.negatives import pool_activations
from eval.collect.token_text import Spelling
from eval.errors import ExamplesError
from probes.examples import Example, FeatureExamples
from probes.subject import Subject

N_FEATURES = 50
N_TEXTS = 3
"""That so many features are looked at in, the strongest."""
_CONTEXT = 256
"""Tokens up to the peak that the subject reads."""


@dataclass(frozen=True)
class _ReportedPeak:
    """A text that ends where the feature is said to activate."""

    feature: int
    window: PoolWindow
    n_tokens: int
    """At its end, that the token with the peak has become."""
    peak: float
    """The activation there."""


@dataclass(frozen=True)
class Peak:
    """A feature's highest activation in a text of another tool's."""

    feature: int
    claimed: float
    """As the tool has it."""
    own: float
    """As the subject has it, at the same token."""


def read_peaks(subject: Subject, found: Mapping[int, FeatureExamples]) -> list[Peak]:
    """The strongest texts of some features, read by the subject up to their peaks."""
    claims = [*_reported_peaks(subject, found)]
    if not claims:
        return []
    active = pool_activations(subject, [claim.window for claim in claims], {claim.feature for claim in claims})
    return [
        Peak(claim.feature, claim.peak, max(active.activations(place, claim.feature)[-claim.n_tokens :]))
        for place, claim in enumerate(claims)
    ]


def check_own(subject: Subject, peaks: Sequence[Peak]) -> None:
    """Raises ExamplesError where most features are not active at the peaks of all their strongest texts."""
    activated: dict[int, list[bool]] = {}
    for peak in peaks:
        activated.setdefault(peak.feature, []).append(peak.own > 0)
    non_activating = [feature for feature, times in activated.items() if not any(times)]
    if 2 * len(non_activating) > len(activated):
        n_texts = len(activated[non_activating[0]])
        raise ExamplesError(
            f"These are examples of another subject than {subject.card.name}: read by it, feature "
            f"{non_activating[0]} activates on 0 of its {n_texts:,} strongest texts ({len(non_activating):,} of "
            f"{len(activated):,} features activate on none of theirs)"
            "; name the subject that they are of with --subject, or with --model and --sae."
        )


def _reported_peaks(subject: Subject, found: Mapping[int, FeatureExamples]) -> Iterator[_ReportedPeak]:
    spelling = Spelling(subject)
    activating = {f: [e for e in one.examples if e.kind == "activating"] for f, one in found.items()}
    features = [feature for feature, examples in activating.items() if examples]
    for feature in features[:: len(features) // N_FEATURES + 1]:
        for example in sorted(activating[feature], key=lambda e: -e.peak)[:N_TEXTS]:
            peak = _reported_peak(subject, spelling, example)
            if peak is not None:
                yield peak


def _reported_peak(subject: Subject, spelling: Spelling, example: Example) -> _ReportedPeak | None:
    """Returns the text up to its peak; None if it has no character there."""
    peak = example.activations.index(example.peak)
    # A character of several tokens stands at the last of them, and the others are empty.
    peak = next((place for place in range(peak, len(example.tokens)) if example.tokens[place]), peak)
    ids = example.token_ids[: peak + 1] if example.token_ids else _encoded(subject, example.tokens[: peak + 1])
    ids = tuple(ids[-_CONTEXT:])
    if not ids:
        return None
    texts = spelling(ids)
    n_tokens, n_chars = 1, len(texts[-1])
    while n_chars < len(example.tokens[peak]) and n_tokens < len(texts):
        n_tokens += 1
        n_chars += len(texts[-n_tokens])
    return _ReportedPeak(
        example.feature, PoolWindow(example.document, example.start, ids, texts), n_tokens, example.peak
    )


def _encoded(subject: Subject, tokens: Sequence[str]) -> list[int]:
    ids: list[int] = subject.tokenizer.encode("".join(tokens), add_special_tokens=False)
    return ids
