"""Measures how well a model's definitions tell words apart, for words whose meaning its own embedding rows know.

A ghost is made of a word and its nearest words, as the ghost of a feature stands between several; its definition is a
small tree, and the words of that are compared with every ghost.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from probes.growing.tree_columns import TreeColumns
from probes.subject import Subject
from probes.tokenizer.token_text import TokenTexts

N_WORDS = 96
"""The standard error of a mean over so many is about .03."""
MIN_WORDS = 24
"""A vocabulary with fewer tells nothing."""
COMMON = 2000
"""Of the vocabulary's words the first so many: where ids go by the rank of merges, the frequent ones."""
_LETTERS = 4
"""Of the shortest word."""
_NEIGHBOURS = 3
_SEED = 20241
CHANCE = 0.5
"""What is read where a definition says nothing of its ghost."""
_ENDS = ('"', ".", "\n")
"""A definition ends at a token that holds one of them."""


@dataclass(frozen=True, eq=False)
class WordGhosts:
    """Words of a vocabulary, and where the ghosts lie that are to be told apart."""

    token_ids: tuple[int, ...]
    units: Float[Tensor, "n d_model"]
    """Unit vectors from the centroid."""


def words_of(subject: Subject) -> WordGhosts | None:
    """Seeded words of the subject's vocabulary, each with its neighbours; None where it has too few of its own."""
    common = _common(subject)
    if len(common) < MIN_WORDS:
        return None
    rows = normalize(subject.embedding[common] - subject.centroid, dim=-1)
    drawn = torch.randperm(len(common), generator=torch.Generator().manual_seed(_SEED))[:N_WORDS].tolist()
    near = (rows[drawn] @ rows.T).topk(1 + _NEIGHBOURS).indices  # each is the nearest to itself
    return WordGhosts(tuple(common[place] for place in drawn), normalize(rows[near].sum(dim=1), dim=-1))


def _common(subject: Subject) -> list[int]:
    """The first tokens that are a space and a word in small letters."""
    found: list[int] = []
    for token_id in range(min(subject.card.vocab, len(subject.tokenizer))):
        text = subject.text_of(token_id)
        if text.startswith(" ") and len(text) > _LETTERS and text[1:].isalpha() and text.islower():
            found.append(token_id)
            if len(found) == COMMON:
                break
    return found


def definition_tokens(tree: TreeColumns, word: str, text_of: TokenTexts) -> dict[int, float]:
    """Returns the tree's tokens up to its ends with their summed probability, less the `word` in any spelling."""
    found: dict[int, float] = defaultdict(float)
    ended: set[int] = set()
    for node in range(1, len(tree.parents)):
        text = text_of(tree.token_ids[node])
        if tree.parents[node] in ended or any(end in text for end in _ENDS):
            ended.add(node)
        elif any(map(str.isalpha, text)) and not _spells(text, word):
            found[tree.token_ids[node]] += tree.probabilities[node]
    return dict(found)


def _spells(text: str, word: str) -> bool:
    """Tells whether the text is a part of the word, or contains it."""
    part, whole = text.strip().lower(), word.strip().lower()
    return whole in part or (len(part) > 2 and part in whole)


def identified(
    definitions: Sequence[Mapping[int, float]], units: Float[Tensor, "n d_model"], subject: Subject
) -> tuple[float, ...]:
    """For each ghost, the share of the other ghosts that its definition is further from: 1 the best, .5 by chance.

    A definition is the mean of its tokens' rows, those weighed less that other definitions have too (inverse document
    frequency, K. Spärck Jones, 1972); nearness is the cosine, in standard deviations of what the definitions have with
    that ghost, since some are near to everything. Ties count half, and so does a definition that says nothing.
    """
    n = len(definitions)
    in_how_many = Counter(token_id for definition in definitions for token_id in definition)
    means = torch.zeros_like(units)
    for place, definition in enumerate(definitions):
        if definition:
            weights = [weight * math.log(n / in_how_many[token_id]) for token_id, weight in definition.items()]
            rows = normalize(subject.embedding[[*definition]] - subject.centroid, dim=-1)
            means[place] = torch.tensor(weights, device=rows.device) @ rows
    cosines = normalize(means, dim=-1) @ units.T
    near = (cosines - cosines.mean(dim=0)) / cosines.std(dim=0).clamp(min=torch.finfo(torch.float32).tiny)
    own = near.diagonal()[:, None]
    further, tied = (near < own).sum(dim=1), (near == own).sum(dim=1) - 1
    shares = (further + tied / 2) / (n - 1)
    shares[~means.any(dim=-1)] = CHANCE
    return tuple(shares.tolist())
