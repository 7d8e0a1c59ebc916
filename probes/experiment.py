"""Runs texts of an explainer on the subject, and reads where and how strongly a feature activates on them."""

from collections.abc import Sequence

from probes.activations import text_activations
from probes.evidence import Evidence, Experiment, ProbeRequest, TextResult
from probes.known_maxima import known_maxima
from probes.subject import Subject


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """The experiments for `requests`, in their order, their texts in one batch."""
    texts = [text.text for request in requests for text in request.texts]
    features = [request.feature for request in requests for _ in request.texts]
    found = iter(text_activations(subject, features, texts))
    maxima = known_maxima(subject, requests)
    return [
        Experiment(
            request.feature,
            request.settings,
            tuple(TextResult(text, (read := next(found)).tokens, read.activations) for text in request.texts),
            maximum,
            request.maximum is not None,
        )
        for request, maximum in zip(requests, maxima, strict=True)
    ]
