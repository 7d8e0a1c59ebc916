"""The subject that ships does what its card says of it."""

import json

import pytest
import torch

from probes.demo.ladder import definitions, named_concept, word_rows
from probes.demo.shipped import FOLDER, load_truth
from probes.demo.tokens import CorpusMaker
from probes.demo.world import World, load_world
from probes.ghost.vectors import feature_vectors
from probes.presets import SubjectSource
from probes.settings import VectorSettings
from probes.subject import Subject, load_subject
from probes.training.measures import measure, residuals

CARD = json.loads((FOLDER / "card.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def demo() -> Subject:
    return load_subject(SubjectSource(name="demo", device="cpu"))


@pytest.fixture(scope="module")
def world() -> World:
    return load_world()


def test_all_of_it_is_small(demo: Subject) -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 16e6
    assert sum(p.numel() for p in demo.model.parameters()) <= 4.2e6
    assert demo.card.vocab <= 8192
    assert demo.card.n_features >= 1024


def test_enough_words_are_one_token_in_both_forms(demo: Subject, world: World) -> None:
    def is_one(text: str) -> bool:
        return len(demo.tokenizer.encode(text, add_special_tokens=False)) == 1

    assert sum(is_one(word) and is_one(f" {word}") for word in world.concepts_of_word) >= 1000


def test_the_sae_reads_unseen_text_as_the_card_says(demo: Subject, world: World) -> None:
    corpus = CorpusMaker(world, demo.tokenizer, length=64, seed=12345).take(200)
    ids = torch.from_numpy(corpus.ids).long()
    found = measure(demo, ids, residuals(demo.model, ids, demo.sae.config.hook))
    card = CARD["measures"]
    assert found.l0 == pytest.approx(card["l0"], rel=0.1)
    assert found.explained_variance == pytest.approx(card["explained_variance"], abs=0.03)
    assert found.loss == pytest.approx(card["loss"], rel=0.1)
    assert found.loss < found.loss_with_sae < found.loss_with_zero


def test_words_are_defined_by_their_concept(demo: Subject, world: World) -> None:
    rows, senses = word_rows(demo, world)
    some = slice(None, None, 12)
    named = [named_concept(text, world) for text in definitions(demo, rows[some])]
    right = [name == sense.concept for name, sense in zip(named, senses[some], strict=True)]
    assert sum(right) / len(right) >= 0.8


def test_ghosts_of_known_features_name_their_concept_far_above_chance(demo: Subject, world: World) -> None:
    known = load_truth().features
    vectors = feature_vectors(demo, list(known), VectorSettings(weights="decoder"))
    named = [named_concept(text, world) for text in definitions(demo, vectors)]
    right = [name == concept.name for name, concept in zip(named, known.values(), strict=True)]
    shifted = [name == concept.name for name, concept in zip(named[1:], known.values(), strict=False)]
    assert sum(right) / len(right) >= 0.4
    assert sum(shifted) / len(shifted) <= 0.2


def test_a_definition_ends_at_its_closing_quote(demo: Subject) -> None:
    ids = demo.tokenizer.encode(" dog", add_special_tokens=False)
    [text] = definitions(demo, demo.embedding[ids[:1]])
    assert '"' not in text
    assert text.startswith(("a", "any", "the", "one"))


def test_the_card_s_page_says_what_its_data_say() -> None:
    page = (FOLDER / "CARD.md").read_text("utf-8")
    for rung in CARD["ladder"].values():
        assert f"{rung['share']:.2f} [{rung['low']:.2f}, {rung['high']:.2f}]" in page
    known = sum(row["known"] for row in json.loads((FOLDER / "truth.json").read_text("utf-8"))["features"])
    assert f"| features with a known concept | >= 100 | {known} |" in page
