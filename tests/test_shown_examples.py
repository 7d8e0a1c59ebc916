"""What a judge or an explainer sees of an example."""

import pytest

from agent.evidence.shown_examples import TOKENS, active_places, cut, marked, place_words, shown, shown_examples
from probes.examples import Example


def test_shown_examples_are_cut_around_the_peak() -> None:
    tokens = tuple(f" w{place}" for place in range(500))
    for peak in (0, 250, 499):
        activations = tuple(9.0 if place == peak else 0.0 for place in range(500))
        shown_example = cut(Example(0, "activating", "d", tokens, activations, tuple(range(500)), start=7))
        assert len(shown_example.tokens) == TOKENS
        assert shown_example.peak == 9
        assert marked(shown_example, active_places(shown_example)).count(f" «w{peak}»") == 1
        assert shown_example.token_ids is not None
        assert shown_example.start - 7 == shown_example.token_ids[0] == int(shown_example.tokens[0][2:])


def test_active_tokens_are_those_above_a_share_of_the_peak() -> None:
    assert active_places(Example(0, "activating", "d", ("a", "b", "c", "d"), (10.0, 3.0, 3.1, 0.0))) == [0, 2]
    assert active_places(Example(0, "random", "d", ("a", "b"), (0.0, 0.0))) == []
    assert shown(Example(0, "random", "d", ('"', "x" * 1000), (0.0, 0.0))).startswith('\\"' + "x" * 100 + "…")


def test_marks_of_a_text_are_no_marks() -> None:
    forged = Example(0, "activating", "d", (" «dog»", " \\u00abdog"), (1.0, 0.0))
    assert marked(forged, [0]) == r" «\u00abdog\u00bb» \\u00abdog"


@pytest.mark.parametrize(
    ("tokens", "start", "words"),
    [
        (("The",), 0, "first token of the document"),
        (("The",), 5, ""),
        ((" end.\n", "The"), 0, "at the start of a line"),
        (("\n", "  ", "The"), 0, ""),
        ((" dogs", ",", " which"), 0, 'after ","'),
        ((" said", ' "', "Yes"), 0, 'after "\\""'),
        ((" qu", "ick", "ly"), 0, "inside a word"),
        ((" a", " dog"), 0, ""),
    ],
)
def test_the_place_of_a_token_in_words(tokens: tuple[str, ...], start: int, words: str) -> None:
    example = Example(0, "activating", "d", tokens, (1.0,) * len(tokens), start=start)
    assert place_words(example, len(tokens) - 1) == words


def test_an_exhibit_tells_its_strongest_token_and_where_that_stands() -> None:
    weak = Example(0, "activating", "d", (" see", ",", " puppy"), (0.0, 0.0, 2.0))
    strong = Example(0, "activating", "e", ("Dog", " barks"), (4.0, 1.0))
    found = shown_examples([weak, strong], 5)
    assert [(text["peak"], text["place"]) for text in found] == [
        ({"text": "Dog", "strength": 10}, "first token of the document"),
        ({"text": " puppy", "strength": 5}, 'after ","'),
    ]
