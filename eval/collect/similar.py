"""Ranks texts by similarity to others: by the words in them, or by a sentence embedder."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix

from probes.examples import Example

Embed = Callable[[Sequence[str]], Float[np.ndarray, "n d"]]
"""One vector for each text, zero for a text with nothing in it."""
_COMPARED = 32
"""Activating texts that are embedded."""


class Similarity(Protocol):
    """A measure of how similar texts are to a feature's own."""

    def to(self, activating: Sequence[Example], among: Sequence[int]) -> list[int]:
        """Returns the places `among` the texts, the most similar first."""
        ...


class EmbeddingSimilarity:
    """Texts by the vectors of a model that was made to compare them."""

    def __init__(self, embed: Embed, texts: Sequence[str]) -> None:
        self._embed = embed
        self._unit = _unit(embed(texts)) if texts else np.zeros((0, 1))

    def to(self, activating: Sequence[Example], among: Sequence[int]) -> list[int]:
        """In the falling order of their cosine with the mean of the strongest activating texts."""
        own = [example.text for example in activating[:_COMPARED]]
        if not own or not among:
            return []
        cosines = self._unit[list(among)] @ _unit(self._embed(own)).mean(axis=0)
        return [among[place] for place in np.argsort(-cosines, kind="stable").tolist()]


def _unit(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """With rows of length 1, or 0 where a text has nothing in it."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


class TfIdfSimilarity:
    """Token ids by tf-idf: tf as 1 + log count, idf as log((1 + n) / (1 + texts with it)) (Salton and Buckley 1988)."""

    def __init__(self, texts: Sequence[Sequence[int]], encode: Callable[[str], Sequence[int]]) -> None:
        """`encode` gives the token ids of texts that come without."""
        self._encode = encode
        self._column = {token: place for place, token in enumerate(sorted({t for text in texts for t in text}))}
        counts = self._counts(texts)
        in_texts = np.asarray((counts > 0).sum(axis=0)).ravel()
        self._idf = np.log((1 + len(texts)) / (1 + in_texts))
        self._unit = self._weighted(counts)

    def to(self, activating: Sequence[Example], among: Sequence[int]) -> list[int]:
        """In the falling order of their cosine with the mean of the activating texts."""
        return self.most_similar([example.token_ids or self._encode(example.text) for example in activating], among)

    def most_similar(self, own: Sequence[Sequence[int]], among: Sequence[int]) -> list[int]:
        """Returns the places `among` the texts, in the falling order of their cosine with the mean of `own`."""
        if not own or not among:
            return []
        query = np.asarray(self._weighted(self._counts(own)).mean(axis=0)).ravel()
        cosines = self._unit[list(among)] @ query
        return [among[place] for place in np.argsort(-cosines, kind="stable").tolist()]

    def _counts(self, texts: Sequence[Sequence[int]]) -> csr_matrix:
        """Texts by known tokens."""
        known = [[self._column[token] for token in text if token in self._column] for text in texts]
        rows = np.repeat(np.arange(len(texts)), [len(text) for text in known])
        columns = np.concatenate([np.asarray(text, dtype=np.int64) for text in known])
        return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(self._column)))

    def _weighted(self, counts: csr_matrix) -> csr_matrix:
        """With rows of length 1, or 0 where nothing in a text is known."""
        weighted = counts.copy()
        weighted.data = 1 + np.log(weighted.data)
        weighted = weighted.multiply(self._idf).tocsr()
        lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
        return weighted.multiply((1 / np.where(lengths > 0, lengths, 1))[:, None]).tocsr()
