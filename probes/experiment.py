"""Runs texts of an explainer on the subject: where and how strongly does a feature activate on them?

All texts of all features go through the model in few batches, and each row is read with its own feature's encoder
column alone. Texts are data: tokens of turns and ends that they spell out stay text.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from probes.activations import residual
from probes.columns import Columns
from probes.evidence import Evidence, Experiment, ProbeRequest, TextResult
from probes.special_tokens import first_ids, special_ids
from probes.subject import Subject
from probes.vocabulary import token_lists

MAX_TOKENS = 256
"""Of a text; what is longer is cut."""
_BATCH_TOKENS = 8192
"""In one forward, padding included."""

Row = tuple[int, list[int]]
"""The place of a text among all, and its tokens."""


@torch.inference_mode()
def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """The experiments for `requests`, in their order. Raises SubjectError where the subject cannot be run."""
    texts = [text.text for request in requests for text in request.texts]
    features = [request.feature for request in requests for _ in request.texts]
    results = iter(_measured(subject, features, texts))
    maxima = _maxima(subject, requests)
    return [
        Experiment(
            request.feature,
            request.settings,
            tuple(TextResult(text, *next(results)) for text in request.texts),
            maximum,
            request.maximum is not None,
        )
        for request, maximum in zip(requests, maxima, strict=True)
    ]


def _maxima(subject: Subject, requests: Sequence[ProbeRequest]) -> list[float]:
    """Those that are known from texts, else the largest that a single token reaches."""
    unknown = sorted({request.feature for request in requests if request.maximum is None})
    lists = token_lists(subject, unknown, 1).leading.values[:, 0].tolist() if unknown else []
    alone = dict(zip(unknown, lists, strict=True))
    return [max(alone[r.feature] if r.maximum is None else r.maximum, 0.0) for r in requests]


def _measured(
    subject: Subject, features: Sequence[int], texts: Sequence[str]
) -> list[tuple[tuple[str, ...], tuple[float, ...]]]:
    """For each text its tokens and its own feature's activations on them."""
    chosen = sorted(set(features))
    columns = Columns(subject.sae, chosen)
    front, special = first_ids(subject), special_ids(subject.tokenizer)
    found: list[Any] = [((), ())] * len(texts)
    rows = [(place, _encoded(subject, text)) for place, text in enumerate(texts)]
    for batch in _batches([row for row in rows if row[1]], len(front)):
        width = len(front) + max(len(ids) for _, ids in batch)
        padded = torch.zeros(len(batch), width, dtype=torch.long)
        for line, (_, ids) in enumerate(batch):
            padded[line, : len(front) + len(ids)] = torch.tensor([*front, *ids])
        states = residual(subject.model, padded.to(subject.model.device), subject.sae.config.hook)
        own = torch.tensor([chosen.index(features[place]) for place, _ in batch], device=states.device)
        values = columns.own(states, own)[:, len(front) :].tolist()
        for (place, ids), line in zip(batch, values, strict=True):
            counted = [(subject.text_of(i), value) for i, value in zip(ids, line, strict=False) if i not in special]
            found[place] = (tuple(text for text, _ in counted), tuple(value for _, value in counted))
    return found


def _encoded(subject: Subject, text: str) -> list[int]:
    sound = text.encode("utf-8", "replace").decode("utf-8")
    ids: list[int] = subject.tokenizer.encode(sound, add_special_tokens=False, split_special_tokens=True)
    return ids[:MAX_TOKENS]


def _batches(rows: Sequence[Row], n_front: int) -> Iterator[list[Row]]:
    """Rows of like length together, so that little is padding; a causal model needs no mask on the right."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row[1])):
        if batch and (len(batch) + 1) * (n_front + len(row[1])) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
