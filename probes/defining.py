"""Defines the words of a list that activates a feature one by one: what the model writes first where each stands.

A tree of words is the mean of the trees of a few; a feature of two concepts has words of both, and the mean shows the
stronger one. Told apart, each word says which of them it is of.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from probes.evidence import TokenList, WordDefinition
from probes.ghost.vectors import placed
from probes.ghost.vocabulary import CUT
from probes.growing.growth import Grower
from probes.settings import ProbeSettings, TreeSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids, prompt_text
from probes.tokenizer.token_text import word_places

DEPTH = 12
"""Most tokens of a definition."""
_ONE_PATH = {"top_k": 1, "cutoff": 1e-300, "max_depth": DEPTH, "contrast": None}


def defined(subject: Subject, lists: Sequence[TokenList], settings: ProbeSettings) -> Iterator[TokenList]:
    """Yields lists of one kind of settings with the definitions of their first `tokens.define` words.

    A word's spellings count once, and only words that stand out from the vocabulary are defined.
    """
    places = [_places(listed, settings.tokens.define) for listed in lists]
    ids = [listed.tokens[place].token_id for listed, some in zip(lists, places, strict=True) for place in some]
    texts = greedy_definitions(subject, _vectors(subject, ids, settings), settings.tree) if ids else iter(())
    for listed, some in zip(lists, places, strict=True):
        yield replace(listed, definitions=tuple(WordDefinition(place, next(texts)) for place in some))


def _places(listed: TokenList, n_words: int) -> list[int]:
    places = word_places([token.token for token in listed.tokens])
    return [place for place in places if listed.z[place] > CUT][:n_words]


def _vectors(subject: Subject, ids: Sequence[int], settings: ProbeSettings) -> Float[Tensor, "n d_model"]:
    """Returns the vectors that stand for tokens, where a feature's would stand."""
    rows = subject.embedding[torch.tensor(ids, device=subject.embedding.device)] - subject.centroid
    return placed(subject, normalize(rows, dim=-1), settings.vector) * subject.input_scale


def greedy_definitions(subject: Subject, vectors: Float[Tensor, "n d_model"], settings: TreeSettings) -> Iterator[str]:
    """Yields the most probable tokens after each vector, up to the end of the prompt's quotation or of the line.

    Vectors are scaled as the embedding's output is.
    """
    greedy = settings.model_copy(update=_ONE_PATH)
    prompt = prompt_ids(subject.tokenizer, prompt_text(subject.tokenizer, greedy), subject.card.placeholder_id)
    for tree in Grower(subject, prompt, greedy).grow(vectors):
        text = "".join(map(subject.text_of, tree.token_ids[1:]))
        yield text.partition('"')[0].partition("\n")[0].strip()
