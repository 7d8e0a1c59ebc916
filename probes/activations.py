"""Reads how active features are on texts that are written for them, many texts of many features in few forwards.

Each row is read with its own feature's encoder column alone. Texts are data: tokens of turns and ends that they spell
out stay text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.columns import Columns
from probes.hooks.activations import residual
from probes.model.structure import max_positions
from probes.subject import Subject, first_ids
from probes.tokenizer.special_tokens import special_ids

MAX_TOKENS = 256
"""Of a text; what is longer is cut."""
_BATCH_TOKENS = 8192
"""In one forward, padding included."""

Row = tuple[int, list[int]]
"""The place of a text among all, and its tokens."""


@dataclass(frozen=True)
class TextActivations:
    """A text's tokens with one feature's activations; special tokens are left out."""

    tokens: tuple[str, ...] = ()
    activations: tuple[float, ...] = ()


@torch.inference_mode()
def feature_activations(
    subject: Subject, columns: Columns, ids: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos n_chosen"]:
    """Activations of the columns' features at every token, float32; rows may be padded on the right.

    A causal model's states never depend on what comes later, so padding needs no mask; what stands there means nothing.
    """
    return columns.encode(residual(subject.model, ids.to(subject.model.device), subject.sae.config.hook))


@torch.inference_mode()
def text_activations(subject: Subject, features: Sequence[int], texts: Sequence[str]) -> list[TextActivations]:
    """For each text that of its own feature, in their order; nothing for a text without a token."""
    chosen = sorted(set(features))
    columns = Columns(subject.sae, chosen)
    front, special = first_ids(subject), special_ids(subject.tokenizer)
    found = [TextActivations()] * len(texts)
    most = min(MAX_TOKENS, (max_positions(subject.model) or MAX_TOKENS + len(front)) - len(front))
    rows = [(place, _encoded(subject, text)[:most]) for place, text in enumerate(texts)]
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
            found[place] = TextActivations(tuple(text for text, _ in counted), tuple(value for _, value in counted))
    return found


def _encoded(subject: Subject, text: str) -> list[int]:
    sound = text.encode("utf-8", "replace").decode("utf-8")
    ids: list[int] = subject.tokenizer.encode(sound, add_special_tokens=False, split_special_tokens=True)
    return ids


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
