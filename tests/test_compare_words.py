"""The words of a tree: whole ones, each with the probability of coming to its end there."""

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Float

from eval.compare.words import MAX_WORDS, WordVectors, tree_words
from probes.evidence import Contrast, Tree
from tests.trees import DOG, tree_of


def words(*phrases: tuple[list[str], float]) -> dict[str, float]:
    return {word: pytest.approx(weight) for word, weight in tree_words(tree_of(phrases)).items()}


def contrasted(tree: Tree, null: dict[str, float]) -> Tree:
    """The tree beside a null with these probabilities, by token text; None for others."""
    probabilities = tuple(1.0 if node == 0 else null.get(tree.texts[id]) for node, id in enumerate(tree.token_ids))
    return replace(tree, contrast=Contrast(probabilities, probabilities, 1.0, 0.01, 10))


def test_every_word_weighs_the_probability_of_its_places() -> None:
    found = tree_words(DOG)
    assert found["kind"] == pytest.approx(0.7)
    assert found["dog"] == pytest.approx(0.5)
    assert found["of"] == pytest.approx(0.7 + 0.05)
    assert [*found.values()] == sorted(found.values(), reverse=True)


def test_tokens_that_continue_a_word_are_part_of_it_and_take_their_share_from_it() -> None:
    found = words(([" sax", "ophone", '"'], 0.3), ([" sax", "on"], 0.2), ([" sax", " player"], 0.1))
    assert found == {"saxophone": 0.3, "saxon": 0.2, "sax": 0.1, "player": 0.1}


def test_a_token_may_end_one_word_and_hold_others() -> None:
    assert words(([" sax", "ophone of", " a"], 0.4)) == {"saxophone": 0.4, "of": 0.4, "a": 0.4}
    assert words(([" mother-in", "-law."], 0.4)) == {"mother": 0.4, "in": 0.4, "law": 0.4}


def test_nothing_behind_the_closing_quote_counts() -> None:
    assert words(([" dog", '" or', " cat"], 0.4)) == {"dog": 0.4}
    assert words(([' dog"s', "led"], 0.4)) == {"dog": 0.4}


def test_a_tree_without_words_has_none() -> None:
    assert tree_words(tree_of([])) == {}
    assert tree_words(tree_of([([",", "..."], 0.5)])) == {}


def test_with_a_contrast_a_word_weighs_its_lift_over_the_null_and_nothing_where_the_null_is_ahead() -> None:
    tree = tree_of([([" a", " dog"], 0.4), ([" a", " thing"], 0.2)])
    found = tree_words(contrasted(tree, {" a": 0.6, " dog": 0.1, " thing": 0.4}))
    assert found == {"dog": pytest.approx(0.4 * np.log(4))}


def test_a_node_that_was_not_compared_has_the_lift_of_the_one_above_it() -> None:
    tree = tree_of([([" dog", " kennel"], 0.4)])
    found = tree_words(contrasted(tree, {" dog": 0.1}))
    assert found["kennel"] == found["dog"] == pytest.approx(0.4 * np.log(4))


class CountingEmbedder:
    """Two dimensions: length and 1; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> Float[np.ndarray, "n d"]:
        self.asked += texts
        return np.array([[len(text), 1.0] for text in texts])


def test_the_mean_of_words_is_weighted_and_each_word_is_embedded_once() -> None:
    embedder = CountingEmbedder()
    vectors = WordVectors(embedder)
    first = vectors.mean({"ab": 3.0, "abcdef": 1.0})
    assert first is not None
    assert first.tolist() == [3.0, 1.0]
    vectors.mean({"ab": 1.0, "c": 1.0})
    assert embedder.asked == ["ab", "abcdef", "c"]
    assert vectors.mean({}) is None


def test_only_the_heaviest_words_count() -> None:
    embedder = CountingEmbedder()
    WordVectors(embedder).mean({f"w{n}": 1000.0 - n for n in range(MAX_WORDS + 5)})
    assert len(embedder.asked) == MAX_WORDS
    assert "w0" in embedder.asked
