"""The units in which a feature is measured and clamped: its largest activation, as far as that is known."""

from collections.abc import Sequence

from probes.evidence import ProbeRequest
from probes.ghost.vocabulary import token_lists
from probes.subject import Subject


def known_maxima(subject: Subject, requests: Sequence[ProbeRequest]) -> list[float]:
    """Returns the largest activation of each request's feature: in examples if it is known, else on any single token.

    0 for a feature that no single token activates.
    """
    unknown = sorted({request.feature for request in requests if request.maximum is None})
    alone = dict(zip(unknown, _on_single_tokens(subject, unknown), strict=True))
    return [max(alone[r.feature] if r.maximum is None else r.maximum, 0.0) for r in requests]


def _on_single_tokens(subject: Subject, features: Sequence[int]) -> list[float]:
    if not features:
        return []
    found = token_lists(subject, features, 1)
    largest = found.leading.values[:, 0].tolist()
    return [value if active else 0.0 for value, active in zip(largest, found.activates, strict=True)]
