"""A pass over a corpus with its negatives, and the side of every document, as they come to the log."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from agent.log.examples import add_collected, begin_corpus, examples_of
from agent.log.run_log import RunLog
from eval.collect import examples
from eval.collect.corpus_pass import Collection, CollectSettings
from eval.collect.examples import FeatureHarvest, feature_harvest, harvest, imported, with_neighbours
from eval.collect.negatives import nearest
from eval.collect.split import SHOWN_SHARE, split_of, without_duplicates
from probes.activations import feature_activations
from probes.columns import Columns
from probes.examples import Baseline, Example, ExampleKind, FeatureExamples
from probes.subject import Subject, first_ids
from probes.tokenizer.special_tokens import special_ids
from tests.fitting import fitting, texts
from tests.logged import corpus_identity
from tests.planted_labels import of_feature

FEATURES = (7, 3, 40)
SETTINGS = CollectSettings(n_tokens=8000, context=32, top=8, per_cell=2, pool=300, seed=5)


@pytest.fixture(scope="module")
def fitted(subject_of: Callable[[str], Subject]) -> Subject:
    return fitting(subject_of("gemma"))


@pytest.fixture(scope="module")
def found(fitted: Subject) -> tuple[Collection, list[FeatureHarvest]]:
    collection, items = harvest(fitted, texts(900, longest=4), FEATURES, SETTINGS)
    return collection, list(items)


def test_each_feature_comes_once_in_order_with_what_fires_it_before_what_does_not(
    fitted: Subject, found: tuple[Collection, list[FeatureHarvest]]
) -> None:
    collection, items = found
    assert [item.found.feature for item in items] == [*FEATURES]
    neighbours = nearest(fitted.sae, FEATURES)
    for item in items:
        collected = collection.features[item.found.feature]
        distinct = without_duplicates(collected.examples)
        n = len(distinct)
        assert item.found.activity == collected.activity
        assert [*item.found.examples[:n]] == distinct
        assert all(example.kind == "activating" and example.peak > 0 for example in collected.examples)
        assert {example.kind for example in item.found.examples[n:]} == {"random", "similar", "neighbour"}
        hard = {example.neighbour for example in item.found.examples[n:] if example.kind == "neighbour"}
        assert hard <= {*neighbours[item.found.feature]}


def test_every_document_is_on_one_side_the_same_for_all_features(
    found: tuple[Collection, list[FeatureHarvest]],
) -> None:
    sides = [dict(item.splitting) for item in found[1]]
    for item in found[1]:
        assert item.splitting.keys() == {example.document for example in item.found.examples}
    assert all(side == split_of(document, SETTINGS.seed) for part in sides for document, side in part.items())
    shown = [side == "shown" for part in sides for side in part.values()]
    assert abs(sum(shown) / len(shown) - SHOWN_SHARE) < 0.15


def test_another_seed_splits_in_another_way() -> None:
    one, other = (feature_harvest(of_feature(0), seed).splitting for seed in (0, 1))
    assert one != other
    assert one.keys() == other.keys()


def test_what_was_imported_keeps_its_baselines_and_needs_no_example() -> None:
    bare = FeatureExamples(3, None, (), [Baseline(3, "cats", "someone")])
    assert feature_harvest(bare, 0) == FeatureHarvest(bare, {})


def test_the_log_gives_back_each_side_and_no_document_is_on_both(
    tmp_path: Path, found: tuple[Collection, list[FeatureHarvest]]
) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        corpus_id = log.write(begin_corpus, corpus_identity()).result()
        for item in found[1]:
            log.write(add_collected, corpus_id, item.found, item.splitting).result()
        for item in found[1]:
            sides = [log.read(examples_of, corpus_id, item.found.feature, split) for split in ("shown", "held_out")]
            kept = [[*side.examples] for side in sides if side is not None]
            assert sorted(e.text for side in kept for e in side) == sorted(e.text for e in item.found.examples)
            shown, held_out = ({e.document for e in side} for side in kept)
            assert shown
            assert held_out
            assert shown.isdisjoint(held_out)


def test_a_dead_feature_has_an_activity_and_silent_texts_only(fitted: Subject) -> None:
    assert fitted.sae.threshold is not None
    threshold = fitted.sae.threshold.clone()
    threshold[5] = 1e6
    subject = replace(fitted, sae=replace(fitted.sae, threshold=threshold))
    _, items = harvest(subject, texts(300, longest=4), [5, 6], SETTINGS)
    dead, alive = (item.found for item in items)
    assert dead.activity is not None
    assert alive.activity is not None
    assert (dead.activity.n_active, dead.activity.n_tokens) == (0, alive.activity.n_tokens)
    assert alive.activity.n_active > 0
    assert len(dead.examples) > 20
    assert "activating" not in {example.kind for example in dead.examples}


def test_imported_texts_of_other_features_serve_as_negatives_where_a_feature_is_silent(
    fitted: Subject, found: tuple[Collection, list[FeatureHarvest]]
) -> None:
    given = dict(found[0].features)
    items = [*imported(fitted, given, seed=1)]
    assert [item.found.feature for item in items] == [*FEATURES]
    for item in items:
        distinct = without_duplicates(given[item.found.feature].examples)
        own, silent = item.found.examples[: len(distinct)], item.found.examples[len(distinct) :]
        assert [*own] == distinct
        assert "random" in {example.kind for example in silent}
        columns, front = Columns(fitted.sae, [item.found.feature]), first_ids(fitted)
        for example in silent:
            ids = torch.tensor([[*front, *(example.token_ids or ())]])
            assert feature_activations(fitted, columns, ids)[0, len(front) :].max() <= 0
        others = {e.document for feature, one in given.items() if feature != item.found.feature for e in one.examples}
        assert {example.document for example in silent} <= others


def test_imported_features_without_texts_are_kept(fitted: Subject) -> None:
    bare = FeatureExamples(3, None, (), [Baseline(3, "cats", "someone")])
    assert [*imported(fitted, {3: bare}, seed=0)] == [FeatureHarvest(bare, {})]


def test_texts_that_read_nearly_alike_are_kept_once_on_whichever_side_they_would_be() -> None:
    def text(kind: ExampleKind, words: str, peak: float, document: str) -> Example:
        tokens = tuple(f" {word}" for word in words.split())
        return Example(3, kind, document, tokens, (*(0.0,) * (len(tokens) - 1), peak))

    old = "the old dog slept by the warm fire all night long"
    silent = text("random", f"{old} .", 0, "a")
    activating = [text("activating", old, 2, "b"), text("activating", f"{old} !", 1, "c")]
    other = text("similar", "a cat sat on the wall and looked at the moon", 0, "d")
    item = feature_harvest(FeatureExamples(3, None, [silent, *activating, other]), seed=0)
    assert [*item.found.examples] == [activating[0], other]
    assert item.splitting.keys() == {"b", "d"}


def test_neighbours_that_fire_on_few_windows_of_the_pool_are_read_in_the_pass(
    fitted: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SETTINGS.model_copy(update={"pool": 2})

    def hard_ones() -> list[Example]:
        collection, items = harvest(fitted, texts(900, longest=4), [7], settings)
        assert [*collection.features] == [7]
        return [example for example in next(items).found.examples if example.kind == "neighbour"]

    hard, front = hard_ones(), first_ids(fitted)
    assert len(hard) > 8
    for example in hard:
        assert example.neighbour is not None
        ids = torch.tensor([[*front, *(example.token_ids or ())]])
        found = feature_activations(fitted, Columns(fitted.sae, [7, example.neighbour]), ids)[0, len(front) :]
        is_text = [id not in special_ids(fitted.tokenizer) for id in example.token_ids or ()]  # the others count as 0
        own, others = found[is_text].amax(dim=0).tolist()
        assert own <= 0 < others == pytest.approx(example.peak, rel=1e-3)
    monkeypatch.setattr(examples, "COLUMNS", 0)
    assert len(hard_ones()) < 2


@pytest.mark.parametrize("n", [3, 600])
def test_neighbours_are_read_as_far_as_there_is_room(n: int) -> None:
    neighbours = {feature: [feature + 1, 1000 + feature, 2000] for feature in range(n)}
    read = with_neighbours(range(n), neighbours)
    assert read == ([0, 1, 2, 3, 1000, 1001, 1002, 2000] if n == 3 else [*range(600)])
