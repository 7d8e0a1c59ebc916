"""Compares a tree with the null distribution: its nodes' probability after ghosts of random directions.

The null is the mean over seeded random directions, put where the feature's direction was: same scale, same centroid,
same components; where a feature has several, each random feature gives one of its own in turn. How far a tree diverges
from it is compared with the trees of other random directions, which do not read out as anything: a feature's that
diverges no further has told nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from probes.evidence import Contrast
from probes.ghost.vectors import origin, placed
from probes.growing.growth import Grower
from probes.growing.mixing import grow_mixed
from probes.growing.tree_columns import TreeColumns, entropy_bits
from probes.null.directions import null_directions, null_weights
from probes.null.known_paths import KnownPaths, PathNodes
from probes.null.null_file import NullFigures, file_of, keep, kept
from probes.settings import WORDS, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids, prompt_text

N_NULL = 16
"""Random directions whose mean is the null."""
N_RANDOM = 99
"""Other random features, whose divergences a feature's is compared with. The more, the less hangs on which they are:
how many others pass at p = .05: of two draws of 400, .07 and .09 with 48, .04 and .07 with 99."""
SEED = 20240


@dataclass(frozen=True)
class NullDistribution:
    """The null distribution of the trees of one kind of vector and one kind of tree."""

    paths: KnownPaths
    """After the ghosts of the bare centroid and of the null, scaled as the embedding's output is."""
    figures: NullFigures
    """Of the trees of other random directions."""


_KINDS = 32
"""Null distributions of a subject that are held; the one that was not asked for longest goes first."""
_MADE: WeakKeyDictionary[Subject, dict[tuple[VectorSettings, TreeSettings], NullDistribution]] = WeakKeyDictionary()


def contrasts(
    subject: Subject, grower: Grower, trees: Sequence[TreeColumns], vector: VectorSettings
) -> Sequence[Contrast | None]:
    """The contrast of every tree, all of vectors made by `vector` or by weights of the same null; None if unwanted."""
    least = grower.settings.contrast
    if least is None:
        return [None] * len(trees)
    alone = vector.model_copy(update={"weights": null_weights(vector.weights)})
    null = _null_distribution(subject, grower, alone)
    return [_contrast(found, null) for found in _follow(grower, trees, null.paths, least)]


def null_figures(subject: Subject, settings: TreeSettings, vectors: Sequence[VectorSettings]) -> Iterator[NullFigures]:
    """For each kind of vector, what the trees of the same N_RANDOM random features are like.

    They are grown one kind after the other, each once for all processes.
    """
    prompt = prompt_ids(subject.tokenizer, prompt_text(subject.tokenizer, settings), subject.card.placeholder_id)
    grower = Grower(subject, prompt, settings)
    return (_null_distribution(subject, grower, vector).figures for vector in vectors)


def _null_distribution(subject: Subject, grower: Grower, vector: VectorSettings) -> NullDistribution:
    made, of = _MADE.setdefault(subject, {}), grower.settings
    least = max(of.cutoff, of.contrast or 0.0)  # what lies below is not looked at ...
    of_several = vector.weights == WORDS and vector.ghost_tokens > 1  # ... but the mean of several trees hangs on it
    settings = of if of_several else of.model_copy(update={"cutoff": least})
    found = made.pop((vector, settings), None) or _made(subject, grower, vector, settings)
    made[vector, settings] = found  # behind all others
    while len(made) > _KINDS:
        del made[next(iter(made))]
    return found


def _made(subject: Subject, grower: Grower, vector: VectorSettings, settings: TreeSettings) -> NullDistribution:
    """From the user's cache, or measured and put there."""

    def ghosts_of(weights: str) -> Float[Tensor, "n n_ghosts d_model"]:
        drawn = null_directions(subject, weights, vector.ghost_tokens, N_NULL + N_RANDOM, SEED)
        return placed(subject, drawn, vector) * subject.input_scale

    bare = origin(subject, vector)[None] * subject.input_scale
    ghosts = torch.cat([bare, _one_each(ghosts_of(null_weights(vector.weights))[:N_NULL])])
    file = file_of(subject.card, vector, settings, {"null": N_NULL, "random": N_RANDOM, "seed": SEED})
    figures = kept(file, N_RANDOM)
    if figures is None:
        figures = _measured(grower, ghosts_of(vector.weights)[N_NULL:], KnownPaths(ghosts))
        keep(file, figures)
    return NullDistribution(KnownPaths(ghosts), figures)


def _one_each(ghosts: Float[Tensor, "n n_ghosts d_model"]) -> Float[Tensor, "n d_model"]:
    """Returns the first vector of the first random feature, the second of the second and so on, around and around.

    Their trees' mean is that of all of them, at the price of one each.
    """
    places = torch.arange(len(ghosts))
    drawn = ghosts[places, places % ghosts.shape[1]]
    return torch.where(drawn.any(dim=-1, keepdim=True), drawn, ghosts[:, 0])


def _measured(grower: Grower, vectors: Float[Tensor, "n_random n_ghosts d_model"], paths: KnownPaths) -> NullFigures:
    """Grows the trees of random directions, and follows them after the null's ghosts."""
    least = grower.settings.contrast
    assert least is not None
    trees = grow_mixed(grower, vectors, least)
    return NullFigures(
        divergences=tuple(found.divergence for found in _follow(grower, trees, paths, least)),
        entropies_bits=tuple(entropy_bits(tree) if len(tree.parents) > 1 else None for tree in trees),
    )


@dataclass(frozen=True)
class _InspectedNodes:
    """The nodes of a tree that are looked at; a node's parent is always among them."""

    looked_at: Bool[Tensor, " n_nodes"]
    nodes: PathNodes
    probabilities: Float64[Tensor, " n"]


@dataclass(frozen=True)
class _NodesWithNull:
    """Such a part, and what ghosts that say nothing make of it."""

    part: _InspectedNodes
    centroid: Float64[Tensor, " n"]
    null: Float64[Tensor, " n"]

    @property
    def divergence(self) -> float:
        """Jensen-Shannon divergence of what a tree tells apart: all that begins as a node does and then leaves it.

        That is a partition of all definitions, so it is never more than the divergence of the full distributions.
        """
        p, null = (_own(self.part.nodes.parents, of) for of in (self.part.probabilities, self.null))
        middle = ((p + null) / 2).clamp(min=_MIN_PROBABILITY)
        return max(0.0, float(sum(torch.xlogy(of, of / middle).sum() for of in (p, null)) / 2))


_MIN_PROBABILITY = 1e-12
"""Below what rounding leaves of a probability of nothing."""


def _follow(grower: Grower, trees: Sequence[TreeColumns], paths: KnownPaths, least: float) -> list[_NodesWithNull]:
    parts = [_part(tree, least) for tree in trees]
    found = paths.probabilities(grower, [part.nodes for part in parts])
    return [_NodesWithNull(part, *columns) for part, columns in zip(parts, found, strict=True)]


def _part(tree: TreeColumns, least: float) -> _InspectedNodes:
    probabilities, parents = torch.tensor(tree.probabilities, dtype=torch.float64), torch.tensor(tree.parents)
    looked_at = probabilities >= least
    place = looked_at.cumsum(0) - 1
    above = torch.where(parents < 0, -1, place[parents])[looked_at]
    nodes = PathNodes(above, torch.tensor(tree.token_ids)[looked_at])
    return _InspectedNodes(looked_at, nodes, probabilities[looked_at])


def _own(parents: Int[Tensor, " n"], probabilities: Float64[Tensor, " n"]) -> Float64[Tensor, " n"]:
    """Returns what is left of each node's probability once its children's are subtracted."""
    below = torch.zeros_like(probabilities).index_add_(0, parents[1:], probabilities[1:])
    return (probabilities - below).clamp(min=0)


def _contrast(found: _NodesWithNull, null: NullDistribution) -> Contrast:
    divergences = null.figures.divergences
    return Contrast(
        null=_spread(found.null, found.part.looked_at),
        centroid=_spread(found.centroid, found.part.looked_at),
        divergence=found.divergence,
        p_value=p_value(found.divergence, divergences),
        n_random=len(divergences),
    )


def p_value(statistic: float, null: Sequence[float]) -> float:
    """(1 + those of the null that are at least as large) / (1 + all of the null)."""
    return (1 + sum(other >= statistic for other in null)) / (1 + len(null))


def _spread(values: Float64[Tensor, " n"], looked_at: Bool[Tensor, " n_nodes"]) -> tuple[float | None, ...]:
    found = iter(values.tolist())
    return tuple(next(found) if seen else None for seen in looked_at.tolist())
