"""Texts on which a feature is not active: any, those that read like its own, those that activate its neighbours.

All come from a pool of random windows. The last kind is the hard one: without it two features that share a label look
equally well labelled.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix

from eval.collect.corpus_pass import PoolWindow, WindowPool
from eval.collect.similar import Embed, EmbeddingSimilarity, Similarity, TfIdfSimilarity
from probes.activations import feature_activations
from probes.columns import Columns
from probes.examples import Example, ExampleKind
from probes.nearest import nearest as near_by_decoder
from probes.sae import SAE
from probes.subject import Subject, first_ids
from probes.tokenizer.special_tokens import special_ids

N_RANDOM = 40
N_SIMILAR = 20
N_PER_NEIGHBOUR = 10
N_NEIGHBOURS = 4
_BATCH = 64


@dataclass(frozen=True, eq=False)
class PoolActivations:
    """Activations of features on each window of a pool, each window read on its own."""

    windows: Sequence[PoolWindow]
    place: Mapping[int, int]
    """Of each feature among the columns."""
    peaks: Float[np.ndarray, "n_pool n_features"]
    activated: Sequence[csr_matrix]
    """Of each window the activations, [pos, n_features]: of thousands of features few activate at a token."""

    def activations(self, window: int, feature: int) -> tuple[float, ...]:
        """A feature's at each token of a window, by its place in the pool."""
        activated = self.activated[window]
        found = np.zeros(activated.shape[0], dtype=np.float32)
        here = activated.indices == self.place[feature]
        found[np.repeat(np.arange(len(found)), np.diff(activated.indptr))[here]] = activated.data[here]
        return tuple(found.tolist())


def nearest(sae: SAE, features: Sequence[int], k: int = N_NEIGHBOURS) -> dict[int, list[int]]:
    """The `k` features whose decoder rows have the highest cosine with each feature's, the nearest first."""
    return {feature: [near.feature for near in found] for feature, found in near_by_decoder(sae, features, k).items()}


def pool_activations(subject: Subject, windows: Sequence[PoolWindow], features: Iterable[int]) -> PoolActivations:
    """Runs the windows on the subject, each from its own beginning, and keeps what `features` do."""
    chosen = sorted(set(features))
    columns = Columns(subject.sae, chosen)
    peaks: list[Float[np.ndarray, " n_features"]] = []
    activated: list[csr_matrix] = []
    for start in range(0, len(windows), _BATCH):
        for activations in _batch_activations(subject, columns, windows[start : start + _BATCH]):
            peaks.append(activations.max(axis=0))
            activated.append(csr_matrix(activations))
    return PoolActivations(
        windows, {feature: place for place, feature in enumerate(chosen)}, np.stack(peaks), activated
    )


class Negatives:
    """Chooses from a pool, for one feature after the other."""

    def __init__(
        self,
        pool: WindowPool,
        active: PoolActivations,
        seed: int,
        encode: Callable[[str], Sequence[int]],
        embed: Embed | None = None,
    ) -> None:
        """`active` are of the pool's windows, for all features to choose for and their neighbours; windows behind
        those are of texts that are known to activate neighbours, and serve as nothing else. `embed` finds similar
        texts, which are else those with the same tokens; `encode` gives those of texts that come without."""
        self._pool = pool
        self._active = active
        self._joined = ["".join(window.tokens) for window in active.windows]
        texts = self._joined[: len(pool.windows)]
        self._similarity: Similarity = (
            TfIdfSimilarity([window.token_ids for window in pool.windows], encode)
            if embed is None
            else EmbeddingSimilarity(embed, texts)
        )
        self._seed = seed

    def of(self, feature: int, activating: Sequence[Example], neighbours: Sequence[int]) -> list[Example]:
        """Windows on which the feature is not active read on their own, those of the pool in their document too; each
        of one kind.

        The random ones are drawn first, from all of these, or they would be easier than random; where there are few,
        the other kinds get half.
        """
        n_pool = len(self._pool.windows)
        quiet = self._quiet(feature, activating)
        free = [place for place in quiet if place < n_pool]
        order = np.random.default_rng([self._seed, feature]).permutation(free).tolist()
        drawn = order[: min(N_RANDOM, (len(free) + 1) // 2)]
        rest = sorted({*free}.difference(drawn))
        beside = [place for place in quiet if place >= n_pool]
        hard = dict(_on_neighbours(feature, neighbours, [*rest, *beside], self._active))
        similar = self._similarity.to(activating, [place for place in rest if place not in hard])[:N_SIMILAR]
        windows = self._pool.windows
        return [
            *(_non_activating(feature, "random", windows[place]) for place in drawn),
            *(_non_activating(feature, "similar", windows[place]) for place in similar),
            *hard.values(),
        ]

    def _quiet(self, feature: int, activating: Sequence[Example]) -> list[int]:
        quiet = self._active.peaks[:, self._active.place[feature]] <= 0
        quiet[: len(self._pool.windows)] &= self._pool.peaks[:, self._pool.features.index(feature)] <= 0
        own = {example.text for example in activating}
        places = np.flatnonzero(quiet).tolist()
        return [place for place in places if self._joined[place] not in own]


def _batch_activations(
    subject: Subject, columns: Columns, windows: Sequence[PoolWindow]
) -> Iterator[Float[np.ndarray, "pos n_features"]]:
    """Padded on the right: what a causal model finds at a token does not hang on what follows. 0 at special tokens."""
    front, special = first_ids(subject), special_ids(subject.tokenizer)
    width = max(len(window.token_ids) for window in windows)
    ids = [[*front, *window.token_ids, *[0] * (width - len(window.token_ids))] for window in windows]
    found = feature_activations(subject, columns, torch.tensor(ids)).float().cpu().numpy()
    for window, activations in zip(windows, found, strict=True):
        text = activations[len(front) : len(front) + len(window.token_ids)]
        text[[i in special for i in window.token_ids]] = 0
        yield text


def _on_neighbours(
    feature: int, neighbours: Sequence[int], free: Sequence[int], active: PoolActivations
) -> Iterator[tuple[int, Example]]:
    """Free windows that activate a neighbour, the strongest of each first, every window for one neighbour only."""
    taken: set[int] = set()
    for neighbour in neighbours:
        column = active.place[neighbour]
        left = np.array([place for place in free if place not in taken], dtype=np.int64)
        peaks = active.peaks[left, column]
        strongest = left[np.argsort(-peaks, kind="stable")[: min(N_PER_NEIGHBOUR, (peaks > 0).sum())]].tolist()
        taken.update(strongest)
        for place in strongest:
            window = active.windows[place]
            yield place, _example(feature, "neighbour", window, active.activations(place, neighbour), neighbour)


def _non_activating(feature: int, kind: ExampleKind, window: PoolWindow) -> Example:
    return _example(feature, kind, window, (0.0,) * len(window.tokens), None)


def _example(
    feature: int, kind: ExampleKind, window: PoolWindow, activations: tuple[float, ...], neighbour: int | None
) -> Example:
    return Example(
        feature=feature,
        kind=kind,
        document=window.document,
        tokens=window.tokens,
        activations=activations,
        token_ids=window.token_ids,
        start=window.start,
        neighbour=neighbour,
    )
