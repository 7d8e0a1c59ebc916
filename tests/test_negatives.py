"""Texts on which a feature is not active, against plain formulas and plain forwards."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

from eval.collect.corpus_pass import Collection, CollectSettings, PoolWindow, WindowPool, collect
from eval.collect.negatives import (
    N_NEIGHBOURS,
    N_PER_NEIGHBOUR,
    N_RANDOM,
    N_SIMILAR,
    Negatives,
    PoolActivations,
    nearest,
    pool_activations,
)
from eval.collect.similar import TfIdfSimilarity
from probes.examples import Example
from probes.hooks.activations import residual
from probes.subject import Subject, first_ids
from probes.tokenizer.special_tokens import special_ids
from tests.fitting import N_FEATURES, fitting, texts

FEATURES = range(N_FEATURES)


@pytest.fixture(scope="module")
def fitted(subject_of: Callable[[str], Subject]) -> Subject:
    return fitting(subject_of("gemma"))


@pytest.fixture(scope="module")
def found(fitted: Subject) -> Collection:
    settings = CollectSettings(n_tokens=20_000, context=40, top=8, per_cell=2, pool=1200)
    return collect(fitted, texts(1500, longest=3), FEATURES, settings)


@pytest.fixture(scope="module")
def firings(fitted: Subject, found: Collection) -> PoolActivations:
    return pool_activations(fitted, found.pool.windows, FEATURES)


@pytest.fixture(scope="module")
def negatives(fitted: Subject, found: Collection, firings: PoolActivations) -> dict[int, list[Example]]:
    chooser, neighbours = Negatives(found.pool, firings, 0, _unread), nearest(fitted.sae, FEATURES)
    return {f: chooser.of(f, found.features[f].examples, neighbours[f]) for f in FEATURES}


def plain(subject: Subject, window: PoolWindow | Example, features: Sequence[int]) -> np.ndarray:
    """The activations of features at each token of a text that stands by itself, 0 at special ones."""
    assert window.token_ids is not None
    front = first_ids(subject)
    x = residual(subject.model, torch.tensor([[*front, *window.token_ids]]), subject.sae.config.hook)[0]
    found = subject.sae.encode(x.float())[len(front) :, list(features)].numpy().copy()
    found[[i in special_ids(subject.tokenizer) for i in window.token_ids]] = 0
    return found


class TestNearest:
    def test_they_are_those_with_the_highest_cosine_of_decoder_rows(self, fitted: Subject) -> None:
        torch.manual_seed(0)
        drawn = torch.randn(N_FEATURES, fitted.sae.W_dec.shape[1]) * torch.rand(N_FEATURES, 1)
        sae, rows = replace(fitted.sae, W_dec=drawn), drawn.numpy()
        for feature, others in nearest(sae, FEATURES).items():
            lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(rows[feature])
            order = np.argsort(-(rows @ rows[feature]) / lengths)
            assert others == [f for f in order.tolist() if f != feature][:N_NEIGHBOURS]

    def test_a_few_features_of_a_few(self, fitted: Subject) -> None:
        found = nearest(fitted.sae, [5, 2], k=1000)
        assert [*found] == [5, 2]
        assert all({*others} == {*FEATURES} - {feature} for feature, others in found.items())


def test_what_features_do_on_a_window_is_what_a_plain_forward_says(
    fitted: Subject, found: Collection, firings: PoolActivations
) -> None:
    for number, window in enumerate(found.pool.windows[:60]):
        expected = plain(fitted, window, FEATURES)
        for feature in FEATURES:
            np.testing.assert_allclose(firings.activations(number, feature), expected[:, feature], atol=1e-4)
        np.testing.assert_allclose(firings.peaks[number], expected.max(axis=0), atol=1e-4)


class TestChoice:
    def test_a_feature_is_silent_on_its_negatives_by_themselves_and_in_their_document(
        self, fitted: Subject, found: Collection, negatives: dict[int, list[Example]]
    ) -> None:
        places = {(window.document, window.start): n for n, window in enumerate(found.pool.windows)}
        for feature, examples in negatives.items():
            assert examples
            for example in examples[::5]:
                assert example.feature == feature
                assert plain(fitted, example, [feature]).max() <= 0
                assert found.pool.peaks[places[example.document, example.start], feature] <= 0

    def test_those_of_a_neighbour_fire_it_with_the_activations_stated(
        self, fitted: Subject, negatives: dict[int, list[Example]]
    ) -> None:
        neighbours = nearest(fitted.sae, FEATURES)
        hard = [e for examples in negatives.values() for e in examples if e.kind == "neighbour"]
        assert len(hard) > N_FEATURES
        for example in hard[::7]:
            assert example.neighbour in neighbours[example.feature]
            np.testing.assert_allclose(
                example.activations, plain(fitted, example, [example.neighbour])[:, 0], atol=1e-4
            )
            assert example.peak > 0

    def test_all_others_have_no_activation(self, negatives: dict[int, list[Example]]) -> None:
        others = [e for examples in negatives.values() for e in examples if e.kind != "neighbour"]
        assert {example.peak for example in others} == {0}
        assert {example.neighbour for example in others} == {None}

    def test_no_window_is_of_two_kinds_and_there_are_as_many_as_said(self, negatives: dict[int, list[Example]]) -> None:
        full = 0
        for examples in negatives.values():
            assert len({(example.document, example.start) for example in examples}) == len(examples)
            kinds = Counter(example.kind for example in examples)
            assert kinds["random"] <= N_RANDOM
            assert kinds["similar"] <= N_SIMILAR
            full += (kinds["random"], kinds["similar"]) == (N_RANDOM, N_SIMILAR)
            each = Counter(example.neighbour for example in examples if example.kind == "neighbour")
            assert len(each) <= N_NEIGHBOURS
            assert max(each.values(), default=0) <= N_PER_NEIGHBOUR
        assert full > N_FEATURES / 2

    def test_no_text_of_the_features_own_is_among_them(self, found: Collection, firings: PoolActivations) -> None:
        window = found.pool.windows[0]
        feature = int(np.flatnonzero(firings.peaks[0] <= 0)[0])
        own = Example(feature, "activating", "elsewhere", window.tokens, (1.0,) * len(window.tokens), window.token_ids)
        chosen = Negatives(found.pool, firings, 0, _unread).of(feature, [own], [])
        assert window.tokens not in [example.tokens for example in chosen]

    def test_the_seed_decides_the_random_ones_alone(
        self, fitted: Subject, found: Collection, firings: PoolActivations
    ) -> None:
        own, neighbours = found.features[3].examples, nearest(fitted.sae, [3])[3]
        one, same, other = (Negatives(found.pool, firings, seed, _unread).of(3, own, neighbours) for seed in (1, 1, 2))
        assert one == same
        assert _random(one) != _random(other)

    @pytest.mark.parametrize("n", [1, 5, 20])
    def test_a_small_pool_gives_some_of_each_kind_it_can(self, n: int, fitted: Subject, found: Collection) -> None:
        windows = found.pool.windows[:n]
        pool = WindowPool(windows, found.pool.features, found.pool.peaks[:n])
        chooser = Negatives(pool, pool_activations(fitted, windows, FEATURES), 0, _unread)
        for feature, others in nearest(fitted.sae, FEATURES).items():
            chosen = chooser.of(feature, found.features[feature].examples, others)
            non_activating = [w for w in windows if plain(fitted, w, [feature]).max() <= 0]
            assert len(chosen) <= len(non_activating)
            assert len(chosen) == 0 or _random(chosen)
            assert len(non_activating) < 6 or len(_random(chosen)) < len(chosen)


class TestByHand:
    """Features 0, 1 and 2 on forty windows of one token each."""

    WINDOWS = tuple(PoolWindow(f"d{n}", 0, (n,), (f" {n}",)) for n in range(40))

    def chosen(self, in_document: Sequence[float], alone: np.ndarray, neighbours: Sequence[int]) -> list[Example]:
        pool = WindowPool(self.WINDOWS, (0,), np.array(in_document, dtype=np.float32)[:, None])
        activated = [csr_matrix(row[None]) for row in alone]
        return Negatives(pool, PoolActivations(self.WINDOWS, {0: 0, 1: 1, 2: 2}, alone, activated), 0, _unread).of(
            0, [], neighbours
        )

    def test_a_window_must_be_silent_in_its_document_and_by_itself(self) -> None:
        in_document, alone = [0.0] * 40, np.zeros((40, 3), dtype=np.float32)
        alone[:, 1] = 1
        in_document[4], alone[7, 0] = 0.1, 0.1
        chosen = {example.document for example in self.chosen(in_document, alone, [1])}
        assert chosen.isdisjoint({"d4", "d7"})
        assert len(chosen) == 19 + N_PER_NEIGHBOUR

    def test_the_strongest_windows_of_each_neighbour_are_taken_and_none_twice(self) -> None:
        alone = np.zeros((40, 3), dtype=np.float32)
        alone[:, 1] = np.random.default_rng(0).permutation(40) + 1
        alone[:, 2] = alone[:, 1] + 0.5
        chosen = self.chosen([0.0] * 40, alone, [1, 2])
        assert len({example.document for example in chosen}) == len(chosen) == 40
        random = {example.document for example in chosen if example.kind == "random"}
        free = sorted((float(p) for n, p in enumerate(alone[:, 1]) if f"d{n}" not in random), reverse=True)
        peaks = {n: [e.peak for e in chosen if e.neighbour == n] for n in (1, 2)}
        assert peaks == {1: free[:10], 2: [peak + 0.5 for peak in free[10:20]]}


def _random(examples: Sequence[Example]) -> list[Example]:
    return [example for example in examples if example.kind == "random"]


TEXTS = [*np.random.default_rng(0).integers(0, 40, size=(60, 12)).tolist(), [1], [2, 2, 2], [999]]
OWN = [[1, 2, 3, 3, 3], [1, 7, 7, 2000], [5]]


def _unread(text: str) -> list[int]:
    raise AssertionError(f"{text!r} has token ids")


class TestSimilar:
    def test_a_text_without_token_ids_is_read(self) -> None:
        def encode(text: str) -> list[int]:
            return [*map(int, text.split())]

        texts, places = TfIdfSimilarity(TEXTS, encode), range(len(TEXTS))
        words = ("1", " 2", " 3")
        written = [Example(0, "activating", "d", words, (1.0, 0.0, 0.0), start=0)]
        assert texts.to(written, places) == texts.most_similar([[1, 2, 3]], places) != texts.most_similar(OWN, places)

    def test_they_are_the_nearest_by_scikit_learns_tf_idf(self) -> None:
        """With sublinear counts and idf less the 1 that scikit-learn adds to keep what stands in every text."""
        vocabulary = sorted({token for text in TEXTS for token in text})
        counts = _counts(TEXTS, vocabulary)
        transformer = TfidfTransformer(norm=None, sublinear_tf=True).fit(counts)
        idf = transformer.idf_ - 1

        def weighted(texts: Sequence[Sequence[int]]) -> np.ndarray:
            tf = TfidfTransformer(norm=None, sublinear_tf=True, use_idf=False).fit(counts)
            return normalize(tf.transform(_counts(texts, vocabulary)).toarray() * idf)

        cosines = weighted(TEXTS) @ weighted(OWN).mean(axis=0)
        expected = sorted(range(len(TEXTS)), key=lambda place: (-cosines[place].round(9), place))
        assert TfIdfSimilarity(TEXTS, _unread).most_similar(OWN, range(len(TEXTS)))[:30] == expected[:30]

    def test_only_those_allowed_are_ranked(self) -> None:
        texts = TfIdfSimilarity(TEXTS, _unread)
        whole = texts.most_similar(OWN, range(len(TEXTS)))
        some = [3, 8, 60, 21]
        assert texts.most_similar(OWN, some) == [place for place in whole if place in some]

    def test_nothing_is_like_nothing(self) -> None:
        texts = TfIdfSimilarity(TEXTS, _unread)
        assert texts.most_similar([], [1, 2]) == []
        assert texts.most_similar(OWN, []) == []
        assert texts.most_similar([[4711]], [5, 2]) == [5, 2]

    def test_similar_negatives_are_taken_in_that_order(
        self, found: Collection, firings: PoolActivations, negatives: dict[int, list[Example]]
    ) -> None:
        everything = TfIdfSimilarity([window.token_ids for window in found.pool.windows], _unread)
        places = {(window.document, window.start): n for n, window in enumerate(found.pool.windows)}
        for feature, examples in negatives.items():
            own = [example.token_ids or () for example in found.features[feature].examples]
            of_kind = {kind: [places[e.document, e.start] for e in examples if e.kind == kind] for kind in _KINDS}
            free = np.flatnonzero(found.pool.peaks[:, feature] <= 0).tolist()
            taken = {*of_kind["random"], *of_kind["neighbour"]}
            alone = [place for place in free if firings.peaks[place, feature] <= 0 and place not in taken]
            texts = {example.text for example in found.features[feature].examples}
            strange = [place for place in alone if "".join(found.pool.windows[place].tokens) not in texts]
            assert of_kind["similar"] == everything.most_similar(own, strange)[:N_SIMILAR]

    def test_an_embedder_ranks_texts_by_what_it_makes_of_them(
        self, found: Collection, firings: PoolActivations
    ) -> None:
        """Its vectors are lengths of texts, in two ways: the texts about as long as the feature's own are nearest."""

        def embed(texts: Sequence[str]) -> np.ndarray:
            angles = np.array([len(text) for text in texts]) / 200
            return 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)

        own = [example for example in found.features[3].examples if 4 < len(example.text) < 9]
        chosen = Negatives(found.pool, firings, 0, _unread, embed).of(3, own, [])
        lengths = [len(example.text) for example in chosen if example.kind == "similar"]
        others = [len(example.text) for example in chosen if example.kind == "random"]
        middle = np.mean([len(example.text) for example in own])
        assert len(lengths) == N_SIMILAR
        assert np.abs(np.array(lengths) - middle).max() < np.abs(np.array(others) - middle).mean()


_KINDS = ("random", "similar", "neighbour")


def _counts(texts: Sequence[Sequence[int]], vocabulary: Sequence[int]) -> csr_matrix:
    return csr_matrix([[text.count(token) for token in vocabulary] for text in map(list, texts)])
