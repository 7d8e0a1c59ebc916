"""What each feature of the demo's SAE really stands for, measured on text the model never saw.

A feature fires where its activation exceeds its own threshold. Concept and threshold are chosen on one half of the text
and reported on the other. Knows activations and marks; no readout, label or explainer reaches this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.demo.tokens import Corpus
from probes.demo.world import World

MIN_WORD_TYPES = 8
MIN_PRECISION = 0.8
_CHOICE_MARGIN = (
    0.03  # a concept chosen at precision .80 on one half would fall below it on the other every second time
)
_LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # quantiles of a feature's positive activations


@dataclass(frozen=True)
class Fit:
    """How well a concept describes where a feature fires."""

    precision: float
    recall: float
    f1: float
    n_fired: int
    """Tokens on which the feature fired."""
    n_word_types: int
    """Different words of the concept among them."""


@dataclass(frozen=True)
class FeatureTruth:
    """A live feature's best concept, with the figures of the half of the text on which it was not chosen."""

    feature: int
    concept: str
    threshold: float
    fit: Fit
    at_zero: Fit
    """The same concept with the feature firing wherever its activation is positive at all."""
    known: bool
    """Whether `fit` reaches MIN_PRECISION over MIN_WORD_TYPES: the feature has a known concept."""
    promotes: str
    """The concept whose share among the next tokens gains most where the feature fires, against everywhere."""
    promotes_share: float
    """That share where the feature fires."""


@dataclass(frozen=True)
class Marked:
    """Activations of every feature on tokens of known meaning."""

    activations: Float[Tensor, "n n_features"]
    belongs: Bool[Tensor, "n n_concepts"]
    """Whether a token stands for a concept."""
    followed_by: Bool[Tensor, "n n_concepts"]
    """Whether the next token does."""
    senses: Int[Tensor, "n"]
    """A number for the token's word in its meaning, -1 for none."""
    sense_concepts: Bool[Tensor, "n_senses n_concepts"]


def mark(corpus: Corpus, world: World, activations: Float[Tensor, "rows pos n_features"]) -> Marked:
    """The tokens of `corpus` but `<bos>`, flat, with `activations` beside them."""
    concepts = {name: i for i, name in enumerate(world.concepts)}
    table = torch.zeros(len(corpus.lineages) + 1, len(concepts), dtype=torch.bool)
    for i, lineage in enumerate(corpus.lineages):
        table[i, [concepts[name] for name in lineage]] = True
    lineages = torch.from_numpy(corpus.senses[:, 1:].reshape(-1).astype(np.int64))
    words = torch.from_numpy(corpus.words[:, 1:].reshape(-1).astype(np.int64))
    pairs = torch.where(lineages >= 0, words * len(corpus.lineages) + lineages, -1)
    unique, numbers = torch.unique(pairs, return_inverse=True)
    numbers = numbers - 1 if unique[0] == -1 else numbers
    sense_concepts = table[unique[unique >= 0] % len(corpus.lineages)]
    belongs = table[lineages].unflatten(0, (len(corpus.ids), -1))
    followed_by = torch.nn.functional.pad(belongs[:, 1:], (0, 0, 0, 1))
    flat = [tensor.flatten(0, 1) for tensor in (activations[:, 1:], belongs, followed_by)]
    return Marked(flat[0], flat[1], flat[2], numbers, sense_concepts)


def half(marked: Marked, which: int) -> Marked:
    """The first (0) or second (1) half of the tokens."""
    middle = len(marked.activations) // 2
    part = slice(None, middle) if which == 0 else slice(middle, None)
    return replace(
        marked,
        activations=marked.activations[part],
        belongs=marked.belongs[part],
        followed_by=marked.followed_by[part],
        senses=marked.senses[part],
    )


def feature_truths(chosen_on: Marked, reported_on: Marked, world: World) -> list[FeatureTruth]:
    """The truth of every feature that fires on both halves."""
    names = list(world.concepts)
    depth = torch.tensor([len(world.lineage(name)) for name in names])
    thresholds = _thresholds(chosen_on.activations)
    counts = torch.stack(
        [_counts(chosen_on, chosen_on.belongs, level) for level in thresholds]
    )  # levels, n_features, n_concepts + 1
    types = torch.stack([_word_types(chosen_on, level) for level in thresholds])
    precision, _, f1 = _scores(counts, chosen_on.belongs.sum(0))
    good = (precision >= MIN_PRECISION + _CHOICE_MARGIN) & (types >= MIN_WORD_TYPES)
    rank = f1 + good * (10.0 + 10.0 * depth)  # any good one first, the most specific of those, then by F1
    best = rank.permute(1, 0, 2).flatten(1).argmax(1)
    level, concept = best // len(names), best % len(names)
    features = torch.arange(len(best))
    threshold = thresholds[level, features]
    fits, zeros = _fits(reported_on, threshold, concept), _fits(reported_on, torch.zeros_like(threshold), concept)
    promoted, share = _promoted(reported_on, threshold)
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
        if fits[f].n_fired and counts[0, f, -1]
    ]


def _is_known(fit: Fit) -> bool:
    return fit.precision >= MIN_PRECISION and fit.n_word_types >= MIN_WORD_TYPES


def _thresholds(activations: Float[Tensor, "n n_features"]) -> Float[Tensor, "levels n_features"]:
    """Per feature, the quantiles of its positive activations; level 0 is 0 itself."""
    ordered = activations.sort(0, descending=True).values
    n_positive = (ordered > 0).sum(0)
    at = torch.stack([((1 - q) * (n_positive - 1).clamp(min=0)).long() for q in _LEVELS])
    levels = ordered.gather(0, at)
    levels[0] = 0
    return levels


def _counts(
    marked: Marked, table: Bool[Tensor, "n n_concepts"], threshold: Float[Tensor, "n_features"]
) -> Float[Tensor, "n_features n_concepts_and_all"]:
    """How often each feature fires where `table` holds, per concept; the last column: how often at all."""
    total = torch.zeros(marked.activations.shape[1], table.shape[1] + 1)
    for activations, rows in zip(marked.activations.split(16384), table.split(16384), strict=True):
        fired = (activations > threshold).float()
        total += fired.T @ torch.cat([rows.float(), torch.ones(len(rows), 1)], 1)
    return total


def _promoted(
    marked: Marked, threshold: Float[Tensor, "n_features"]
) -> tuple[Int[Tensor, "n_features"], Float[Tensor, "n_features"]]:
    """The concept whose share of the next tokens gains most where each feature fires, and that share."""
    counts = _counts(marked, marked.followed_by, threshold)
    shares = counts[:, :-1] / counts[:, -1:].clamp(min=1)
    concept = (shares - marked.followed_by.float().mean(0)).argmax(1)
    return concept, shares.gather(1, concept[:, None])[:, 0]


def _word_types(marked: Marked, threshold: Float[Tensor, "n_features"]) -> Int[Tensor, "n_features n_concepts"]:
    """Over how many different words of each concept each feature fires."""
    content = marked.senses >= 0
    seen = torch.zeros(marked.activations.shape[1], len(marked.sense_concepts), dtype=torch.bool)
    fired = (marked.activations[content] > threshold).nonzero()
    seen[fired[:, 1], marked.senses[content][fired[:, 0]]] = True
    return (seen.float() @ marked.sense_concepts.float()).long()


def _scores(
    counts: Float[Tensor, "*levels n_features n_concepts_and_all"], sizes: Int[Tensor, "n_concepts"]
) -> tuple[Tensor, Tensor, Tensor]:
    hits, fired = counts[..., :-1], counts[..., -1:]
    precision, recall = hits / fired.clamp(min=1), hits / sizes.clamp(min=1)
    return precision, recall, 2 * precision * recall / (precision + recall).clamp(min=1e-9)


def _fits(marked: Marked, threshold: Float[Tensor, "n_features"], concept: Int[Tensor, "n_features"]) -> Sequence[Fit]:
    counts, types = _counts(marked, marked.belongs, threshold), _word_types(marked, threshold)
    columns = [table.gather(1, concept[:, None])[:, 0] for table in (*_scores(counts, marked.belongs.sum(0)), types)]
    rows = zip(*(c.tolist() for c in columns), counts[:, -1].tolist(), strict=True)
    return [Fit(p, r, f1, int(n), int(n_types)) for p, r, f1, n_types, n in rows]
