"""The demo with features planted in its SAE whose meaning is known by construction.

Directions are linear discriminants (R. A. Fisher, 1936) of what the model has at the hook for single words of its
world: of two unrelated concepts at once; of a concept that leans to one or the other of two kinds of it; random; and
features that never activate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.demo.shipped import load_truth
from probes.demo.world import World, load_world
from probes.ghost.token_states import token_states
from probes.ghost.vocabulary import alone
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject

N_TWOFOLD, N_PAIRS, N_RANDOM, N_DEAD = 40, 20, 100, 20
LEAN = 0.3
"""Weight of what tells one kind from the other, beside what both have in common."""
FIRES_FROM = 0.5
"""A token that lies so far from the mean token towards the mean word of a concept activates its planted feature."""
MIN_WORDS = 12
"""Fewest single-token words of a concept that is planted."""
RIDGE = 0.1
"""Added to the covariance, as a share of its mean diagonal."""


@dataclass(frozen=True)
class PlantedSubject:
    """The subject, and where in it what was planted."""

    subject: Subject
    concepts: Mapping[int, str]
    """The demo's own features with a known concept."""
    twofold: Mapping[int, tuple[str, str]]
    """Features of two unrelated concepts."""
    leaning: Mapping[int, tuple[str, str]]
    """Features of one concept; of the two kinds of it, the first activates the feature more."""
    random: Sequence[int]
    dead: Sequence[int]


def planted(seed: int = 0) -> PlantedSubject:
    """Loads the demo and plants features in the place of those without a known concept."""
    subject, world = load_subject(SubjectSource()), load_world()
    known = {feature: concept.name for feature, concept in load_truth().features.items()}
    rng = np.random.default_rng(seed)
    free = iter(rng.permutation([f for f in range(subject.card.n_features) if f not in known]).tolist())
    garden = _Garden(subject, world)
    twofold = {next(free): pair for pair in _unrelated(garden, rng)}
    leaning = {next(free): order for pair in _kinds(garden, rng) for order in (pair, pair[::-1])}
    random, dead = [next(free) for _ in range(N_RANDOM)], [next(free) for _ in range(N_DEAD)]
    for feature, (one, other) in twofold.items():
        both = garden.direction(one) + garden.direction(other)
        garden.plant(feature, both)
    for feature, (kind, other) in leaning.items():
        parent = str(world.concepts[kind].parent)
        leans = garden.direction(kind) - garden.direction(other)
        garden.plant(feature, garden.direction(parent) + LEAN * leans)
    assert subject.sae.b_enc is not None
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for feature in random:
            subject.sae.W_enc[:, feature] = torch.randn(subject.sae.W_enc.shape[0], generator=generator)
            subject.sae.W_dec[feature] = torch.randn(subject.sae.W_dec.shape[1], generator=generator)
        for feature in dead:
            subject.sae.W_enc[:, feature] = 0
            subject.sae.b_enc[feature] = -1
    return PlantedSubject(subject, known, twofold, leaning, random, dead)


@dataclass(frozen=True)
class _Garden:
    """A subject, its world, and the states of its words."""

    subject: Subject
    world: World

    @cached_property
    def place(self) -> dict[str, int]:
        """Row of the states of each word that is one token behind a space."""
        rows = {int(id): row for row, id in enumerate(token_states(self.subject).ids.tolist())}
        encode = self.subject.tokenizer.encode
        words = {word: encode(f" {word}", add_special_tokens=False) for word in self.world.concepts_of_word}
        return {word: rows[ids[0]] for word, ids in words.items() if len(ids) == 1 and ids[0] in rows}

    @cached_property
    def states(self) -> Float[Tensor, "n d_in"]:
        """Returns what the SAE sees of each token read alone."""
        return torch.cat([*token_states(self.subject).blocks(self.subject)])

    @property
    def mean(self) -> Float[Tensor, " d_in"]:
        """Their mean over all tokens."""
        return token_states(self.subject).mean

    @cached_property
    def precision(self) -> Float[Tensor, "d_in d_in"]:
        """Inverse covariance over the vocabulary."""
        covariance = token_states(self.subject).covariance
        ridge = RIDGE * covariance.diagonal().mean()
        return torch.linalg.inv(covariance + ridge * torch.eye(len(covariance)))

    def words(self, concept: str) -> list[str]:
        """The concept's words that are single tokens and mean nothing else."""
        mine = {sense.word for sense in self.world.members[concept]}
        lineage = {*self.world.lineage(concept)}
        own = (w for w in sorted(mine) if w in self.place)
        return [w for w in own if all(lineage & {*self.world.lineage(c)} for c in self.world.concepts_of_word[w])]

    def direction(self, concept: str) -> Float[Tensor, " d_in"]:
        """The discriminant of the concept's words against all tokens: 1 for their mean, 0 for the mean token."""
        away = self.states[[self.place[word] for word in self.words(concept)]].mean(dim=0) - self.mean
        found = self.precision @ away
        return found / (found @ away)

    def plant(self, feature: int, direction: Float[Tensor, " d_in"]) -> None:
        """Puts a feature of that direction in the place of `feature`; it writes what it reads."""
        sae = self.subject.sae
        assert sae.b_enc is not None
        assert sae.threshold is not None
        with torch.no_grad():
            sae.W_enc[:, feature] = direction
            sae.W_dec[feature] = direction
            sae.b_enc[feature] = sae.threshold[feature] = 0
            found = alone(self.subject, feature)
            sae.b_enc[feature] = -float(found[token_states(self.subject).ids].mean()) - FIRES_FROM


def _unrelated(garden: _Garden, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Yields pairs of concepts without kinds, of which both are not kinds of one."""
    world = garden.world
    wide = {concept.parent for concept in world.concepts.values()}
    enough = [name for name in sorted(world.concepts) if name not in wide and len(garden.words(name)) >= MIN_WORDS]
    pairs = [p for p in combinations(enough, 2) if not {*world.lineage(p[0])} & {*world.lineage(p[1])}]
    for place in rng.permutation(len(pairs))[:N_TWOFOLD].tolist():
        yield pairs[place]


def _kinds(garden: _Garden, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Yields pairs of kinds of one concept."""
    world = garden.world
    enough = [name for name in sorted(world.concepts) if len(garden.words(name)) >= MIN_WORDS]
    pairs = [
        p for p in combinations(enough, 2) if (up := world.concepts[p[0]].parent) and up == world.concepts[p[1]].parent
    ]
    for place in rng.permutation(len(pairs))[:N_PAIRS].tolist():
        yield pairs[place]
