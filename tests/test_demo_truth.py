"""The demo's ground truth: planted features get the concept they were planted with, and figures are plain counts."""

import numpy as np
import pytest
import torch

from probes.demo.shipped import load_truth
from probes.demo.tokens import Corpus
from probes.demo.truth import FeatureTruth, MarkedActivations, PositiveActivations, feature_truths, half, mark
from probes.demo.world import World, load_world

LINEAGES = (("dog", "animal"), ("fish", "animal"), ("fruit",))
WORDS = 12
"""Of each lineage."""


@pytest.fixture(scope="module")
def world() -> World:
    return load_world()


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Tokens of dog, fish and fruit words and of none, in equal shares."""
    rng = np.random.default_rng(0)
    senses = rng.integers(-1, 3, (200, 41)).astype(np.int32)
    words = np.where(senses >= 0, senses * WORDS + rng.integers(0, WORDS, senses.shape), -1).astype(np.int32)
    vocabulary = tuple(f"w{i}" for i in range(3 * WORDS))
    return Corpus(np.zeros_like(senses), senses, words, LINEAGES, vocabulary)


def plant(corpus: Corpus, world: World, activations: np.ndarray) -> MarkedActivations:
    """`activations` [rows, pos, n_features] beside the corpus."""
    table = torch.from_numpy(activations[:, 1:].reshape(-1, activations.shape[-1])).float()
    tokens, features = table.nonzero(as_tuple=True)
    return mark(corpus, world, PositiveActivations(tokens, features, table[tokens, features], table.shape[1]))


@pytest.fixture(scope="module")
def truths(corpus: Corpus, world: World) -> dict[int, FeatureTruth]:
    """Planted: 0 dogs; 1 all animals; 2 dogs strongly and everything weakly; 3 noise; 4 three dog words; 5 nothing."""
    rng = np.random.default_rng(1)
    senses, words = corpus.senses, corpus.words
    strength = rng.uniform(1, 2, senses.shape)
    columns = [
        (senses == 0) * strength,
        np.isin(senses, (0, 1)) * strength,
        np.where(senses == 0, 5 + strength, rng.uniform(0.1, 1, senses.shape)),
        (rng.random(senses.shape) < 0.2) * strength,
        np.isin(words, (0, 1, 2)) * strength,
        np.zeros(senses.shape),
    ]
    marked = plant(corpus, world, np.stack(columns, -1))
    return {t.feature: t for t in feature_truths(half(marked, 0), half(marked, 1), world)}


def test_planted_features_get_their_concept(truths: dict[int, FeatureTruth]) -> None:
    assert [(f, t.concept) for f, t in truths.items() if t.known] == [(0, "dog"), (1, "animal"), (2, "dog")]


def test_a_pure_feature_has_perfect_figures(truths: dict[int, FeatureTruth]) -> None:
    fit = truths[0].fit
    assert (fit.precision, fit.recall, fit.f1, fit.n_word_types) == (1, 1, 1, WORDS)


def test_a_threshold_finds_what_is_pure_at_the_top_and_zero_is_reported_beside_it(
    truths: dict[int, FeatureTruth],
) -> None:
    found = truths[2]
    assert found.threshold > 0.5
    assert found.fit.precision > 0.9
    assert found.at_zero.precision == pytest.approx(0.25, abs=0.03)


def test_few_words_or_no_concept_or_no_firing_is_not_known(truths: dict[int, FeatureTruth]) -> None:
    assert not truths[3].known
    assert not truths[4].known
    assert truths[4].fit.n_word_types == 3
    assert 5 not in truths


def test_figures_are_plain_counts_on_the_half_where_nothing_was_chosen(corpus: Corpus, world: World) -> None:
    rng = np.random.default_rng(2)
    values = np.where(
        corpus.senses == 0, rng.uniform(0, 4, corpus.senses.shape), rng.uniform(0, 2, corpus.senses.shape)
    )
    marked = plant(corpus, world, values[..., None])
    truth = feature_truths(half(marked, 0), half(marked, 1), world)[0]
    flat, senses = values[:, 1:].reshape(-1), corpus.senses[:, 1:].reshape(-1)
    second = slice(len(flat) // 2, None)
    activated, is_dog = flat[second] > truth.threshold, senses[second] == 0
    assert truth.concept == "dog"
    assert truth.fit.n_active == activated.sum()
    assert truth.fit.precision == pytest.approx((activated & is_dog).sum() / activated.sum())
    assert truth.fit.recall == pytest.approx((activated & is_dog).sum() / is_dog.sum())


def test_what_a_feature_promotes_is_what_follows_it(corpus: Corpus, world: World) -> None:
    senses = corpus.senses.copy()
    before_fruit = np.zeros(senses.shape)
    before_fruit[:, :-1] = senses[:, 1:] == 2
    marked = plant(corpus, world, before_fruit[..., None])
    truth = feature_truths(half(marked, 0), half(marked, 1), world)[0]
    assert (truth.promotes, truth.promotes_share) == ("fruit", 1)


def test_halves_share_no_token(corpus: Corpus, world: World) -> None:
    marked = plant(corpus, world, np.ones((*corpus.senses.shape, 1)))
    first, second = half(marked, 0), half(marked, 1)
    assert len(first.senses) + len(second.senses) == len(marked.senses)
    assert torch.equal(torch.cat([first.belongs, second.belongs]), marked.belongs)
    assert len(first.positive_activations.tokens) == len(first.senses)
    assert int(second.positive_activations.tokens.min()) == 0


def test_the_shipped_truth_names_concepts_of_the_world(world: World) -> None:
    truth = load_truth()
    assert truth.features
    assert {known.name for known in truth.features.values()} <= set(world.concepts)
    assert truth.concept_of_name == world.concept_of_name
    assert all(known.lineage == world.lineage(known.name) for known in truth.features.values())
