"""The world of the embedded subject keeps the promises that its truth rests on."""

from collections import Counter
from itertools import islice

import pytest

from probes.demo.text import UNSPACED_SHARE, DocumentWriter, MarkedText
from probes.demo.world import World, load_world


@pytest.fixture(scope="module")
def world() -> World:
    return load_world()


@pytest.fixture(scope="module")
def texts(world: World) -> list[MarkedText]:
    return list(islice(DocumentWriter(world, seed=7).documents(), 20_000))


def test_the_world_is_large_enough(world: World) -> None:
    assert len(world.concepts_of_word) >= 1500
    assert sum(len(world.members[name]) >= 20 for name in world.concepts) >= 60


def test_concepts_nest_and_some_words_have_two_senses(world: World) -> None:
    assert world.lineage("dog") == ("dog", "animal")
    senses = Counter(sense.word for sense in world.senses)
    assert sum(n > 1 for n in senses.values()) >= 20


def test_every_name_and_synonym_stands_for_one_concept_only(world: World) -> None:
    names = Counter(name for concept in world.concepts.values() for name in concept.names)
    assert max(names.values()) == 1


def test_undefined_words_are_never_defined_nor_listed_under_their_concept(
    world: World, texts: list[MarkedText]
) -> None:
    undefined = world.undefined_words()
    assert len(undefined) >= 0.15 * len(world.concepts_of_word)
    openings = ('A typical definition of "{}"', '"{}" means', "define {}:", "what does {} mean", 'the word "{}" stands')
    for text in texts:
        for mark in text.marks:
            word = text.text[mark.start : mark.end]
            if word in undefined:
                assert not any(opening.format(word) in text.text for opening in openings)
                assert not text.text.startswith(f"{word} (")


def test_marks_cover_exactly_the_words_they_speak_of(world: World, texts: list[MarkedText]) -> None:
    for text in texts:
        for mark in text.marks:
            word = text.text[mark.start : mark.end]
            assert set(mark.concepts) <= world.concepts_of_word[word]


def test_a_word_in_a_slot_carries_one_sense_and_its_ancestors(texts: list[MarkedText]) -> None:
    senses = {mark.concepts for text in texts for mark in text.marks if text.text[mark.start : mark.end] == "bass"} | {
        mark.concepts for text in texts for mark in text.marks if text.text[mark.start : mark.end] == "cricket"
    }
    assert {("insect", "animal"), ("sport",)} <= senses


def test_about_a_fifth_of_a_word_s_occurrences_have_no_space_before_them(world: World, texts: list[MarkedText]) -> None:
    spaced, unspaced = Counter[str](), Counter[str]()
    for text in texts:
        for mark in text.marks:
            word = text.text[mark.start : mark.end]
            if word in world.concept_of_name:
                continue  # what concepts are called is spelled out by frames, with a space
            (spaced if mark.start and text.text[mark.start - 1] == " " else unspaced)[word] += 1
    shares = sorted(unspaced[w] / (spaced[w] + unspaced[w]) for w in spaced if spaced[w] + unspaced[w] >= 30)
    assert len(shares) > 500
    assert abs(shares[len(shares) // 2] - UNSPACED_SHARE) < 0.05
    assert shares[len(shares) // 20] > UNSPACED_SHARE / 2


def test_an_inner_quote_never_ends_a_definition_early(texts: list[MarkedText]) -> None:
    definitions = [t.text for t in texts if t.text.startswith("A typical definition of")]
    assert len(definitions) > 500
    assert all(text.count('"') == 4 for text in definitions)


def test_articles_agree_with_what_follows(world: World) -> None:
    texts = " ".join(text.text for text in islice(DocumentWriter(world, seed=8).documents(), 20_000))
    assert " an apple" in texts
    assert " a apple" not in texts
    assert " an unicorn" not in texts


def test_the_same_seed_writes_the_same_text(world: World) -> None:
    first, again, other = (list(islice(DocumentWriter(world, seed).documents(), 50)) for seed in (3, 3, 4))
    assert first == again
    assert first != other
