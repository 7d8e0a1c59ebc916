"""Takes the first words of a feature's vocabulary list one by one, so that each can be defined as what it is.

One ghost of several tokens stands between them, where the model has no word; each word's own direction is one that it
knows. Spellings of a word (case, outer spaces) count once, and only tokens that stand out count.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from probes.ghost.vocabulary import CUT, leading_tokens
from probes.subject import Subject
from probes.tokenizer.token_text import word_places

_SPELLINGS = 8
"""Tokens that are looked at for each word wanted: most words have fewer spellings."""


def word_directions(subject: Subject, columns: Float[Tensor, "d_in n"], n_words: int) -> Float[Tensor, "n k d_model"]:
    """The unit directions from the centroid to the rows of each feature's first words, from its encoder column.

    In the order of the list, `k` at most `n_words`; zero where a feature has fewer words beyond the cut.
    """
    leading = leading_tokens(subject, columns, _SPELLINGS * n_words)
    ids = torch.zeros(len(leading.ids), n_words, dtype=torch.long)
    found = torch.zeros(ids.shape, dtype=torch.bool)
    for place, (row, z) in enumerate(zip(leading.ids.tolist(), leading.z.tolist(), strict=True)):
        words = _words(subject, [id for id, out in zip(row, z, strict=True) if out > CUT])[:n_words]
        ids[place, : len(words)] = torch.tensor(words, dtype=torch.long)
        found[place, : len(words)] = True
    rows = subject.embedding[ids.to(subject.embedding.device)] - subject.centroid
    return normalize(rows, dim=-1) * found.to(rows.device)[:, :, None]


def _words(subject: Subject, ids: list[int]) -> list[int]:
    """Returns the first token of each word."""
    return [ids[place] for place in word_places([subject.text_of(id) for id in ids])]
