"""Finds what each feature of the demo's SAE really stands for, measured on text the model never saw.

A feature activates where its activation exceeds its own threshold. Concept and threshold are chosen on one half of the
text and reported on the other. Knows activations and marks; no readout, label or explainer reaches this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.demo.tokens import Corpus
from probes.demo.world import World
from probes.sae import SAE

MIN_WORD_TYPES = 8
MIN_PRECISION = 0.8
_CHOICE_MARGIN = (
    0.03  # a concept chosen at precision .80 on one half would fall below it on the other every second time
)
_LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # quantiles of a feature's positive activations
_TOKENS = 8192


@dataclass(frozen=True)
class ConceptFit:
    """The fit of a concept: precision and recall as a description of where a feature is active."""

    precision: float
    recall: float
    f1: float
    n_active: int
    """Tokens on which the feature activated."""
    n_word_types: int
    """Different words of the concept among them."""


@dataclass(frozen=True)
class FeatureTruth:
    """A live feature's best concept, with the figures of the half of the text on which it was not chosen."""

    feature: int
    concept: str
    threshold: float
    fit: ConceptFit
    at_zero: ConceptFit
    """The same concept with the feature activating wherever its activation is positive at all."""
    known: bool
    """Whether `fit` reaches MIN_PRECISION over MIN_WORD_TYPES: the feature has a known concept."""
    promotes: str
    """The concept whose share among the next tokens gains most where the feature activates, against everywhere."""
    promotes_share: float
    """That share where the feature activates."""


@dataclass(frozen=True)
class PositiveActivations:
    """Every positive activation, by token and feature: one in hundreds is, so the full table would be mostly zeros."""

    tokens: Int[Tensor, "m"]
    features: Int[Tensor, "m"]
    values: Float[Tensor, "m"]
    n_features: int


@dataclass(frozen=True)
class MarkedActivations:
    """Positive activations of features on tokens of known meaning."""

    positive_activations: PositiveActivations
    belongs: Float[Tensor, "n n_concepts"]
    """1 where a token stands for a concept, else 0."""
    followed_by: Float[Tensor, "n n_concepts"]
    """1 where the next token does."""
    senses: Int[Tensor, "n"]
    """A number for the token's word in its meaning, -1 for none."""
    sense_concepts: Float[Tensor, "n_senses n_concepts"]
    """1 where a word in that meaning stands for a concept."""


def positive_activations(sae: SAE, x: Float[Tensor, "n d_model"]) -> PositiveActivations:
    """Returns the positive activations on the residual stream `x`."""
    found = []
    for start in range(0, len(x), _TOKENS):
        activations = sae.encode(x[start : start + _TOKENS])
        tokens, features = activations.nonzero(as_tuple=True)
        found.append((tokens + start, features, activations[tokens, features]))
    tokens, features, values = (torch.cat(column) for column in zip(*found, strict=True))
    return PositiveActivations(tokens, features, values, sae.config.n_features)


def mark(corpus: Corpus, world: World, activated: PositiveActivations) -> MarkedActivations:
    """`activated`, on the tokens of `corpus` but `<bos>`, beside what those tokens mean."""
    concepts = {name: i for i, name in enumerate(world.concepts)}
    table = torch.zeros(len(corpus.lineages) + 1, len(concepts))
    for i, lineage in enumerate(corpus.lineages):
        table[i, [concepts[name] for name in lineage]] = 1
    lineages = torch.from_numpy(corpus.senses[:, 1:].reshape(-1).astype(np.int64))
    words = torch.from_numpy(corpus.words[:, 1:].reshape(-1).astype(np.int64))
    pairs = torch.where(lineages >= 0, words * len(corpus.lineages) + lineages, -1)
    unique, numbers = torch.unique(pairs, return_inverse=True)
    numbers = numbers - 1 if unique[0] == -1 else numbers
    sense_concepts = table[unique[unique >= 0] % len(corpus.lineages)]
    belongs = table[lineages].unflatten(0, (len(corpus.ids), -1))
    followed_by = torch.nn.functional.pad(belongs[:, 1:], (0, 0, 0, 1))
    return MarkedActivations(activated, belongs.flatten(0, 1), followed_by.flatten(0, 1), numbers, sense_concepts)


def half(marked: MarkedActivations, which: int) -> MarkedActivations:
    """The first (0) or second (1) half of the tokens."""
    middle = len(marked.senses) // 2
    start, end = (0, middle) if which == 0 else (middle, len(marked.senses))
    f = marked.positive_activations
    inside = (f.tokens >= start) & (f.tokens < end)
    return MarkedActivations(
        positive_activations=PositiveActivations(
            f.tokens[inside] - start, f.features[inside], f.values[inside], f.n_features
        ),
        belongs=marked.belongs[start:end],
        followed_by=marked.followed_by[start:end],
        senses=marked.senses[start:end],
        sense_concepts=marked.sense_concepts,
    )


def feature_truths(chosen_on: MarkedActivations, reported_on: MarkedActivations, world: World) -> list[FeatureTruth]:
    """The truth of every feature that activates on both halves."""
    names = list(world.concepts)
    depth = torch.tensor([len(world.lineage(name)) for name in names])
    thresholds = _thresholds(chosen_on.positive_activations)
    strong = [_above(chosen_on.positive_activations, level) for level in thresholds]
    counts = torch.stack([_counts(activated, chosen_on.belongs) for activated in strong])
    types = torch.stack([_word_types(chosen_on, activated) for activated in strong])
    precision, _, f1 = _scores(counts, chosen_on.belongs.sum(0))
    good = (precision >= MIN_PRECISION + _CHOICE_MARGIN) & (types >= MIN_WORD_TYPES)
    rank = f1 + good * (10.0 + 10.0 * depth)  # any good one first, the most specific of those, then by F1
    best = rank.permute(1, 0, 2).flatten(1).argmax(1)
    level, concept = best // len(names), best % len(names)
    features = torch.arange(len(best))
    threshold = thresholds[level, features]
    fits, zeros = _fits(reported_on, threshold, concept), _fits(reported_on, torch.zeros_like(threshold), concept)
    promoted, share = _promoted(reported_on, _above(reported_on.positive_activations, threshold))
    return [
        FeatureTruth(
            feature=f,
            concept=names[concept[f]],
            threshold=float(threshold[f]),
            fit=fits[f],
            at_zero=zeros[f],
            known=_is_known(fits[f]),
            promotes=names[promoted[f]],
            promotes_share=float(share[f]),
        )
        for f in features.tolist()
        if fits[f].n_active and counts[0, f, -1]
    ]


def _is_known(fit: ConceptFit) -> bool:
    return fit.precision >= MIN_PRECISION and fit.n_word_types >= MIN_WORD_TYPES


def _thresholds(activated: PositiveActivations) -> Float[Tensor, "levels n_features"]:
    """Per feature, the quantiles of its positive activations; level 0 is 0 itself."""
    order = torch.argsort(activated.values)
    order = order[torch.argsort(activated.features[order], stable=True)]
    count = torch.bincount(activated.features, minlength=activated.n_features)
    first = count.cumsum(0) - count
    last = len(order) - 1
    at = torch.stack([(first + (q * (count - 1).clamp(min=0)).long()).clamp(max=last) for q in _LEVELS])
    levels = activated.values[order][at]
    levels[0] = 0
    return levels


def _above(activated: PositiveActivations, threshold: Float[Tensor, "n_features"]) -> PositiveActivations:
    """The positive_activations above each feature's threshold."""
    strong = activated.values > threshold[activated.features]
    return PositiveActivations(
        activated.tokens[strong], activated.features[strong], activated.values[strong], activated.n_features
    )


def _counts(
    activated: PositiveActivations, table: Float[Tensor, "n n_concepts"]
) -> Float[Tensor, "n_features n_concepts_and_all"]:
    """Counts how often each feature is active where `table` is 1, per concept; the last column: how often at all."""
    total = torch.zeros(activated.n_features, table.shape[1] + 1)
    for tokens, features in zip(activated.tokens.split(_TOKENS), activated.features.split(_TOKENS), strict=True):
        total.index_add_(0, features, torch.nn.functional.pad(table[tokens], (0, 1), value=1.0))
    return total


def _promoted(
    marked: MarkedActivations, activated: PositiveActivations
) -> tuple[Int[Tensor, "n_features"], Float[Tensor, "n_features"]]:
    """The concept whose share of the next tokens gains most where each feature activates, and that share."""
    counts = _counts(activated, marked.followed_by)
    shares = counts[:, :-1] / counts[:, -1:].clamp(min=1)
    concept = (shares - marked.followed_by.mean(0)).argmax(1)
    return concept, shares.gather(1, concept[:, None])[:, 0]


def _word_types(marked: MarkedActivations, activated: PositiveActivations) -> Float[Tensor, "n_features n_concepts"]:
    """Over how many different words of each concept each feature activates."""
    seen = torch.zeros(activated.n_features, len(marked.sense_concepts) + 1)
    seen[activated.features, marked.senses[activated.tokens]] = 1  # what has no sense, -1, goes into the last column
    return seen[:, :-1] @ marked.sense_concepts


def _scores(
    counts: Float[Tensor, "*levels n_features n_concepts_and_all"], sizes: Float[Tensor, "n_concepts"]
) -> tuple[Tensor, Tensor, Tensor]:
    hits, activated = counts[..., :-1], counts[..., -1:]
    precision, recall = hits / activated.clamp(min=1), hits / sizes.clamp(min=1)
    return precision, recall, 2 * precision * recall / (precision + recall).clamp(min=1e-9)


def _fits(
    marked: MarkedActivations, threshold: Float[Tensor, "n_features"], concept: Int[Tensor, "n_features"]
) -> Sequence[ConceptFit]:
    activated = _above(marked.positive_activations, threshold)
    counts, types = _counts(activated, marked.belongs), _word_types(marked, activated)
    columns = [table.gather(1, concept[:, None])[:, 0] for table in (*_scores(counts, marked.belongs.sum(0)), types)]
    rows = zip(*(c.tolist() for c in columns), counts[:, -1].tolist(), strict=True)
    return [ConceptFit(p, r, f1, int(n), int(n_types)) for p, r, f1, n_types, n in rows]
