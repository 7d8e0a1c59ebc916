"""What an explainer may see and what scorers measure on never meet."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from eval.collect.corpora import Document
from eval.collect.split import ALIKE, on_new_words, peak_word, split_of, without_duplicates
from probes.examples import Example


def example(text: str, peak: int = 0, document: str = "d") -> Example:
    tokens = tuple(word if place == 0 else f" {word}" for place, word in enumerate(text.split(" ")))
    activations = tuple(float(place == peak) for place in range(len(tokens)))
    return Example(3, "activating", document, tokens, activations)


def test_a_document_is_always_on_one_side_and_about_half_are_on_each() -> None:
    sides = [split_of(f"document {place}", seed=1) for place in range(4000)]
    assert sides == [split_of(f"document {place}", seed=1) for place in range(4000)]
    assert 1850 < Counter(sides)["shown"] < 2150
    other = [split_of(f"document {place}", seed=2) for place in range(4000)]
    assert 1800 < sum(here == there for here, there in zip(sides, other, strict=True)) < 2200


def test_a_text_is_on_the_same_side_wherever_it_stands() -> None:
    texts = [f"the {n} cats sat on\nthe mat" for n in range(400)]
    sides = [split_of(Document(f"a.jsonl:{n}", text).id, seed=1) for n, text in enumerate(texts)]
    moved = [Document(f"renamed.txt:{n + 7}", text.replace("\n", "\r\n")).id for n, text in enumerate(texts)]
    assert [split_of(name, seed=1) for name in moved] == sides
    assert 150 < Counter(sides)["shown"] < 250


def test_near_duplicates_go_and_the_first_stays() -> None:
    first = example("the old dog slept by the warm fire all night long")
    twin = example("The old dog slept by the warm fire all night, long", document="other")
    other = example("a cat sat on the wall and looked at the moon")
    assert without_duplicates([first, twin, other, other]) == [first, other]


def jaccard(one: str, other: str) -> float:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))}

    return len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))


@given(st.integers(0, 10_000))
def test_it_is_the_plain_comparison_of_all_pairs(seed: int) -> None:
    chance = random.Random(seed)
    texts = [" ".join(chance.choices(["a", "b", "c", "d"], k=chance.randint(1, 8))) for _ in range(25)]
    kept: list[str] = []
    for text in texts:
        if all(jaccard(text, earlier) < ALIKE for earlier in kept):
            kept.append(text)
    assert [found.text for found in without_duplicates(map(example, texts))] == kept


def test_the_word_of_a_peak_is_whole_even_where_its_tokens_are_not() -> None:
    pieces = Example(3, "activating", "d", ("The", " Pas", "sion", "fruit", ",", " too"), (0, 0.1, 2.0, 0.2, 0, 0))
    assert peak_word(pieces) == "passionfruit"
    assert peak_word(Example(3, "activating", "d", ("a", ","), (0.0, 1.0))) == ""
    assert peak_word(Example(3, "activating", "d", (" dog",), (1.0,))) == "dog"


def test_new_words_are_those_that_no_shown_example_has() -> None:
    shown = [example("dog barks"), example("a Cat sleeps", peak=1)]
    fresh, known, met = example("hound barks"), example("the cat purrs", peak=1), example("it barks", peak=1)
    assert on_new_words([fresh, known, met, example("- dogs")], shown) == [fresh]
