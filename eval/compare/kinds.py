"""Kinds of features by where they activate, each by a rule that can be measured; no probe and no label has a say in it.

The rules are looked at in the order of `KINDS`, and the first that holds decides. Thresholds are conventions, said here
and nowhere else.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eval.metrics import auroc
from probes.examples import Example, FeatureExamples, Split
from probes.model.embedding import EmbeddingTable

POSITIONAL_SHARE = 0.5
"""Of the tokens a feature activates on, at one place of what the model reads at a time."""
SINGLE_SHARE = 0.9
"""Of the tokens a feature activates on, one and the same word whatever its case."""
CONCEPT_AUROC = 0.8
MIN_TOKENS = 10
"""That a feature must activate on, among its texts, for any rule but the first."""

KINDS: Mapping[str, str] = {
    "dead": "never active in the whole corpus",
    "positional": f"at least {POSITIONAL_SHARE:.0%} of its active tokens are at one position of the context",
    "single token": f"at least {SINGLE_SHARE:.0%} of its active tokens are one word, ignoring case",
    "concept": "the mean embedding of the tokens it activates on in one half of its texts tells those in "
    f"the other half from their neighbours, with an AUROC of at least {CONCEPT_AUROC:g}",
    "other": "none of these; depends on context, or on nothing that embeddings show",
    "unknown": f"no texts, or fewer than {MIN_TOKENS} active tokens",
}
"""Every kind with its rule."""


@dataclass(frozen=True)
class TokenActivation:
    """A token on which a feature activates or not, in one of the texts on which it activates."""

    id: int | None
    word: str
    place: int
    """In the document."""
    activates: bool


def kind_of(
    found: FeatureExamples | None, halves: Mapping[Split, Sequence[Example]], table: EmbeddingTable, window: int
) -> str:
    """The kind of a feature.

    `halves` are its activating texts, shown and held out; `window` is how many tokens of a document the model read at a
    time, 0 where that is not known, so that nothing can be told of places.
    """
    if found is not None and found.activity is not None and found.activity.n_active == 0:
        return "dead"
    shown, held_out = [*_token_activations(halves["shown"])], [*_token_activations(halves["held_out"])]
    active = [token for token in (*shown, *held_out) if token.activates]
    if len(active) < MIN_TOKENS:
        return "unknown"
    if window and _top_share(token.place % window for token in active) >= POSITIONAL_SHARE:
        return "positional"
    if _top_share(token.word for token in active) >= SINGLE_SHARE:
        return "single token"
    return "concept" if _coherence(shown, held_out, table) >= CONCEPT_AUROC else "other"


def _token_activations(examples: Sequence[Example]) -> Iterator[TokenActivation]:
    for example in examples:
        ids = example.token_ids or (None,) * len(example.tokens)
        columns = zip(ids, example.tokens, example.activations, strict=True)
        for place, (id, token, activation) in enumerate(columns):
            yield TokenActivation(id, token.strip().casefold(), example.start + place, activation > 0)


def _top_share(items: Iterator[object]) -> float:
    counts = Counter(items)
    return counts.most_common(1)[0][1] / counts.total()


def _coherence(shown: Sequence[TokenActivation], held_out: Sequence[TokenActivation], table: EmbeddingTable) -> float:
    """The AUROC of the rule for concepts; 0 where it cannot be had."""
    known = [token.id for token in shown if token.activates and token.id is not None]
    asked = [token for token in held_out if token.id is not None]
    if not known or not asked:
        return 0.0
    mean = (_rows(table, known).mean(dim=0) - table.centroid)[None]
    others = _rows(table, [token.id for token in asked if token.id is not None]) - table.centroid
    cosines = torch.nn.functional.cosine_similarity(others, mean, dim=1)
    return auroc([token.activates for token in asked], cosines.tolist()).value or 0.0


def _rows(table: EmbeddingTable, ids: Sequence[int]) -> Float[Tensor, "n d_model"]:
    rows: Tensor = table.rows[torch.tensor(ids, device=table.rows.device)]
    return rows
