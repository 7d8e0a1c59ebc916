"""A text that somebody typed: how active a feature is at each of its tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from eval.collect.token_text import Spelling
from eval.errors import ExamplesError
from probes.activations import feature_activations
from probes.columns import Columns
from probes.features import check_feature
from probes.model.structure import max_positions
from probes.subject import Subject, first_ids

MAX_TOKENS = 2048
"""That are read at once, where the model takes so many."""


@dataclass(frozen=True)
class TypedText:
    """A text's tokens with a feature's activations; what stands in front of every text is left out."""

    feature: int
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    activations: tuple[float, ...]

    @property
    def peak(self) -> float:
        """The highest activation; 0 where the feature is not active."""
        return max(self.activations)


def read_typed(subject: Subject, feature: int, text: str) -> TypedText:
    """Reads the text as one of a corpus is read. Raises FeatureError and ExamplesError."""
    check_feature(feature, subject.card.n_features)
    front, ids = first_ids(subject), _ids(subject, text)
    read = torch.tensor([[*front, *ids]])
    activations = feature_activations(subject, Columns(subject.sae, [feature]), read)[0, len(front) :, 0]
    return TypedText(feature, tuple(ids), Spelling(subject)(ids), tuple(activations.tolist()))


def _ids(subject: Subject, text: str) -> Sequence[int]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ExamplesError("The text holds bytes that are no UTF-8; type it again.") from None
    ids: list[int] = subject.tokenizer.encode(text, add_special_tokens=False)
    if not ids:
        raise ExamplesError("There is no text to read; type some.")
    most = min(MAX_TOKENS, max_positions(subject.model) or MAX_TOKENS) - len(first_ids(subject))
    if len(ids) > most:
        raise ExamplesError(f"The text has {len(ids):,} tokens, and {most:,} are read at once; shorten it.")
    if max(ids) >= subject.card.vocab:
        raise ExamplesError(
            f"The tokenizer gives token {max(ids)}, but the model knows only {subject.card.vocab}; they do not belong "
            "together."
        )
    return ids
