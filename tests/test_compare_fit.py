"""What is measured of one feature under one setting, against plain formulas; what cannot be measured and why."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from eval.compare.fit import (
    FeatureReadout,
    FitTools,
    agreement,
    by_itself,
    feature_readouts,
    list_fit,
    on_texts,
    tree_fit,
)
from eval.compare.held_out_examples import HeldOutExamples
from eval.compare.measures import MEASURES
from eval.compare.words import WordVectors
from eval.embedders import SubjectEmbedder
from probes.evidence import Contrast, ProbeRequest, Tree
from probes.ghost.vectors import feature_vectors
from probes.ghost.vocabulary import alone
from probes.probe import run_probes
from probes.settings import ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from tests.subjects import N_FEATURES

SETTING = ProbeSettings(vector=VectorSettings(weights="decoder", scale=1.2), tree=TreeSettings(cutoff=0.01))
DEAD = N_FEATURES - 1


def plain_auroc(truth: Sequence[bool], values: Sequence[float]) -> float:
    """Share of pairs in the right order, ties half."""
    wins = [
        (a > b) + (a == b) / 2
        for (t, a), (f, b) in product([*zip(truth, values, strict=True)], repeat=2)
        if t and not f
    ]
    return float(np.mean(wins))


def plain_scores(subject: Subject, feature: int, ids: Sequence[int], exponent: float = 1.4) -> list[float]:
    """The token list's formula, token by token."""
    v = feature_vectors(subject, [feature], SETTING.vector)[0].double()
    c, rows = subject.centroid.double(), subject.embedding.double()
    cosine = torch.nn.functional.cosine_similarity
    return [float((1 - cosine(v, rows[i], 0)) ** exponent / (1 - cosine(c, rows[i], 0))) for i in ids]


def texts(ids: Sequence[int] = (), activates: Sequence[bool] = (), **fields: object) -> HeldOutExamples:
    return HeldOutExamples(3, tuple(ids), tuple(activates), **fields)  # type: ignore[arg-type]


def seen(subject: Subject, feature: int = 3) -> FeatureReadout:
    tree = run_probes(subject, [ProbeRequest("tree", feature, SETTING)])[0]
    assert isinstance(tree, Tree)
    return feature_readouts(subject, [tree], SETTING)[0]


def tools(subject: Subject) -> FitTools:
    return FitTools(subject, WordVectors(SubjectEmbedder(subject)))


def test_the_lists_auroc_is_that_of_its_formula_with_repeated_tokens_as_ties(subject: Subject) -> None:
    ids = [7, 40, 41, 7, 90, 40, 200, 201, 202, 7]
    activates = [True, False, True, False, False, True, False, False, True, True]
    found = list_fit(seen(subject).scores, texts(ids, activates))
    assert found.value == pytest.approx(plain_auroc(activates, [-s for s in plain_scores(subject, 3, ids)]))
    assert found.n == len(ids)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_tokens_of_the_features_own_direction_are_told_perfectly(subject: Subject) -> None:
    scores = plain_scores(subject, 3, range(subject.card.vocab))
    near, far = np.argsort(scores)[:4].tolist(), np.argsort(scores)[-20:].tolist()
    found = list_fit(seen(subject).scores, texts([*near, *far], [True] * 4 + [False] * 20))
    assert found.value == 1.0


def test_tokens_that_activate_a_feature_most_are_told_perfectly_by_a_vocabulary_list(subject: Subject) -> None:
    setting = SETTING.model_copy(update={"vector": VectorSettings(weights="vocabulary", scale=1.2)})
    grown = run_probes(subject, [ProbeRequest("tree", 3, setting)])[0]
    assert isinstance(grown, Tree)
    listed = alone(subject, 3)
    ranked = listed.argsort(descending=True)[: int(listed.isfinite().sum())].tolist()
    ids = [*ranked[:4], *ranked[-20:]]
    found = list_fit(feature_readouts(subject, [grown], setting)[0].scores, texts(ids, [True] * 4 + [False] * 20))
    assert found.value == 1.0


def test_the_trees_auroc_is_that_of_its_words_mean_and_texts_without_words_are_left_out(subject: Subject) -> None:
    embedder = SubjectEmbedder(subject)
    said = ["the cat sat", "a dog ran", "house", "the garden", ""]
    vectors = embedder.encode(said)
    truth = (True, False, True, False, False)
    words = {"cat": 2.0, "house": 1.0}
    mean = np.average(embedder.encode([*words]), axis=0, weights=[2.0, 1.0])
    cosines = [float(v @ mean / np.linalg.norm(v) / np.linalg.norm(mean)) for v in vectors[:4]]
    found = tree_fit(WordVectors(embedder), words, texts(vectors=vectors, activating=truth))
    assert found.value == pytest.approx(plain_auroc(truth[:4], cosines))
    assert found.n == 4


def test_a_tree_without_words_tells_no_text_from_another(subject: Subject) -> None:
    vectors = SubjectEmbedder(subject).encode(["the cat", "a dog", "house"])
    found = tree_fit(tools(subject).words, {}, texts(vectors=vectors, activating=(True, False, False)))
    assert (found.value, found.n) == (0.5, 3)


def test_agreement_is_the_weighted_share_of_the_vocabulary_behind_the_trees_words(subject: Subject) -> None:
    listed = seen(subject).scores
    scores = np.array(plain_scores(subject, 3, range(subject.card.vocab)))
    scores[np.isnan(scores)] = np.inf

    def behind(word: str) -> float:
        ids = subject.tokenizer.encode(f" {word}", add_special_tokens=False)
        return float(np.mean([(scores > scores[i]).mean() + (scores == scores[i]).mean() / 2 for i in ids]))

    found = agreement(subject, listed, {"cat": 3.0, "house": 1.0})
    assert found.value == pytest.approx((3 * behind("cat") + behind("house")) / 4, abs=2e-3)
    assert found.n == 2
    nearest = subject.text_of(int(np.argmin(scores))).strip()
    if subject.tokenizer.encode(f" {nearest}", add_special_tokens=False) == [int(np.argmin(scores))]:
        assert (agreement(subject, listed, {nearest: 1.0}).value or 0) > 0.99


def test_every_measure_is_there_for_every_feature(subject: Subject) -> None:
    mine = seen(subject)
    vectors = SubjectEmbedder(subject).encode(["the cat", "a dog"])
    own = texts([7, 40], [True, False], vectors=vectors, activating=(True, False))
    assert {*on_texts(tools(subject), mine, own), *by_itself(tools(subject), mine)} == {*MEASURES}


def test_what_cannot_be_measured_has_a_reason_and_no_value(subject: Subject) -> None:
    nothing = texts(reason="never activated in 10 tokens")
    found = on_texts(tools(subject), seen(subject), nothing)
    assert {(e.value, e.reason) for e in found.values()} == {(None, "never activated in 10 tokens")}
    no_ids = texts(no_ids="the texts came without the subject's own tokens", vectors=np.ones((2, 3)))
    assert list_fit(seen(subject).scores, no_ids).reason == no_ids.no_ids
    everywhere = texts([7, 8], [True, True])
    assert list_fit(seen(subject).scores, everywhere).reason == "all of them are true"
    assert "no word" in (agreement(subject, seen(subject).scores, {}).reason or "")


def test_a_feature_without_weights_has_no_measure_at_all(subject: Subject) -> None:
    dead = seen(subject, DEAD)
    assert not dead.is_alive
    own = texts([7, 40], [True, False], vectors=np.ones((2, 3)), activating=(True, False))
    found = on_texts(tools(subject), dead, own) | by_itself(tools(subject), dead)
    assert {*found} == {*MEASURES}
    assert {(e.value, e.reason) for e in found.values()} == {(None, "the feature has no direction by these weights")}


@pytest.mark.parametrize(("p_value", "stands"), [(0.01, 1.0), (0.5, 0.0)])
def test_the_contrast_of_a_tree_is_read_off_it_and_a_tree_without_one_has_none(
    subject: Subject, p_value: float, stands: float
) -> None:
    mine = seen(subject)
    contrast = Contrast((None,) * mine.tree.n_nodes, (None,) * mine.tree.n_nodes, 2.5, p_value, 20)
    found = by_itself(tools(subject), replace(mine, tree=replace(mine.tree, contrast=contrast)))
    assert (found["readout"].value, found["divergence"].value) == (stands, 2.5)
    without = by_itself(tools(subject), replace(mine, tree=replace(mine.tree, contrast=None)))
    assert without["readout"].value is None
    assert without["divergence"].reason == "the tree was grown without a contrast"
