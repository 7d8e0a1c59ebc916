"""Runs texts of an explainer on the subject: where and how strongly does a feature activate on them?"""

from collections.abc import Sequence

from probes.activations import text_activations
from probes.evidence import Evidence, Experiment, ProbeRequest, TextResult
from probes.ghost.vocabulary import token_lists
from probes.subject import Subject


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """The experiments for `requests`, in their order, their texts in one batch."""
    texts = [text.text for request in requests for text in request.texts]
    features = [request.feature for request in requests for _ in request.texts]
    found = iter(text_activations(subject, features, texts))
    maxima = _maxima(subject, requests)
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


def _maxima(subject: Subject, requests: Sequence[ProbeRequest]) -> list[float]:
    """Returns the maxima known from examples, else the largest activation that a single token reaches."""
    unknown = sorted({request.feature for request in requests if request.maximum is None})
    lists = token_lists(subject, unknown, 1).leading.values[:, 0].tolist() if unknown else []
    alone = dict(zip(unknown, lists, strict=True))
    return [max(alone[r.feature] if r.maximum is None else r.maximum, 0.0) for r in requests]
