"""Trees as SVG and DOT: well-formed whatever the tokens, and showing what the tree holds."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from agent.evidence.branches import Branch, Trim, drawn
from agent.evidence.printable import printable
from agent.evidence.wording import percent, phrase_words, token_words
from agent.terminal.drawing import tree_dot, tree_svg
from tests.trees import DOG, NASTY, tree_of

SVG = "{http://www.w3.org/2000/svg}"
NASTY_TREE = tree_of([([token, "x" + token], 0.9 / len(NASTY)) for token in NASTY])
DEEP = tree_of([([f" {depth}" for depth in range(1000)], 0.9)])
FORKED_DEEP = tree_of([(["a"] * depth + ["b"], 0.001) for depth in range(800)])


def phrases(branch: Branch) -> list[str]:
    return [child.text for child in branch.children]


def test_chains_become_phrases_and_forks_stay() -> None:
    root = drawn(DOG, Trim()).root
    assert phrases(root) == ["a kind of", "an animal that barks", "the name"]
    assert phrases(root.children[0]) == [' dog"', ' hound"']
    assert [round(child.probability, 6) for child in root.children] == [0.7, 0.1, 0.05]


def test_an_improbable_only_child_is_not_hidden_in_its_parents_phrase() -> None:
    tree = tree_of([(["a", " b"], 0.08), (["a", " c"], 0.06), (["a", " d"], 0.06), (["e"], 0.5)])
    a = drawn(tree, Trim(most=3)).root.children[1]
    assert (a.text, a.probability, phrases(a)) == ("a", pytest.approx(0.2), [" b"])
    assert drawn(tree_of([(["a", " b"], 0.1), (["a", " c"], 0.3)]), Trim(least=0.2)).root.children[0].text == "a c"


def test_the_original_tools_tokens_are_left_out_with_what_hangs_below() -> None:
    picture = drawn(DOG, Trim())
    assert picture.n_nodes - picture.n_drawn == 2
    assert "of" not in tree_svg(DOG, Trim()).split("the name")[1]


@pytest.mark.parametrize("most", [1, 3, 7, 10])
def test_trimming_by_count_keeps_the_most_probable_and_their_parents(most: int) -> None:
    kept = drawn(DOG, Trim(most=most))
    ranked = sorted(DOG.probabilities[1:], reverse=True)
    assert kept.n_drawn == most
    assert min(branch.probability for branch, _ in kept.walk()) == ranked[most - 1]


def test_trimming_by_probability() -> None:
    assert [branch.text for branch, _ in drawn(DOG, Trim(least=0.3)).walk()] == ['a kind of dog"']


def test_svg_shows_every_phrase_and_wider_edges_for_more_probable_ones() -> None:
    svg = ElementTree.fromstring(tree_svg(DOG, Trim()))
    texts = [element.text for element in svg.iter(f"{SVG}text")]
    for words in ("a kind of", 'dog"', 'hound"', "an animal that barks", "the name", "70%", "5.0%"):
        assert words in texts
    widths = [float(path.attrib["stroke-width"]) for path in svg.iter(f"{SVG}path")]
    probabilities = [branch.probability for branch, _ in drawn(DOG, Trim()).walk()]
    by_probability = [width for _, width in sorted(zip(probabilities, widths, strict=True))]
    assert by_probability == sorted(set(widths))


def test_svg_stays_within_its_own_canvas() -> None:
    svg = ElementTree.fromstring(tree_svg(DOG, Trim()))
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    for element in svg.iter(f"{SVG}text"):
        assert 0 < float(element.attrib["x"]) < width
        assert 0 < float(element.attrib["y"]) < height
    rows = [element.attrib["y"] for element in svg.iter(f"{SVG}text") if element.attrib["fill"] == "#222"]
    assert len(rows) == 6  # title, four leaves on rows of their own and one fork


@pytest.mark.parametrize("tree", [NASTY_TREE, DEEP, FORKED_DEEP, tree_of([])], ids=["nasty", "deep", "forks", "empty"])
def test_svg_and_dot_survive_any_tree(tree) -> None:
    svg = ElementTree.fromstring(tree_svg(tree, Trim()).encode())
    assert not list(svg.iter("script"))
    statements(tree_dot(tree, Trim()))


def statements(dot: str) -> list[str]:
    """The statements of a DOT text, strings as `S`; fails where it is not what graphviz's grammar takes."""
    assert all(line.isprintable() for line in dot.splitlines())
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "S", dot)
    attribute = r"\w+=(?:S|[\w.]+)"
    statement = rf"  \w+(?: -> \w+)? \[{attribute}(?:, {attribute})*\];"
    lines = bare.splitlines()
    assert (lines[0], lines[-1]) == ("digraph definition_tree {", "}")
    for line in lines[1:-1]:
        assert re.fullmatch(statement, line), line
    return lines[1:-1]


def test_dot_has_one_node_and_one_edge_per_phrase() -> None:
    lines = statements(tree_dot(DOG, Trim()))
    assert sum("->" in line for line in lines) == 5
    assert 'label="dog\\"  50%"' in tree_dot(DOG, Trim())


def test_dot_labels_say_what_the_tokens_are() -> None:
    dot = tree_dot(tree_of([(["\\", '"\\'], 0.5)]), Trim())
    label = re.search(r'  n0 \[label="(.*)"\];', dot)
    assert label
    assert re.sub(r"\\(.)", r"\1", label[1]) == '\\"\\  50%'


@pytest.mark.parametrize("text", NASTY)
def test_printable_shows_what_it_may_not_send(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode()
    for character in text:
        assert character in shown or f"{ord(character):02x}" in shown or repr(character)[1:-1] in shown


def test_printable_leaves_ordinary_text_alone() -> None:
    for text in ("a kind of dog", "naïve 犬 🐕 é", "C:\\", ""):
        assert printable(text) == text


def test_words_for_numbers_and_tokens() -> None:
    shown = [percent(p) for p in (1.0, 0.874, 0.0996, 0.0994, 0.032, 0.00996, 0.0005, 0.00009, 1e-8)]
    assert shown == ["100%", "87%", "10%", "9.9%", "3.2%", "1.0%", "0.05%", "9e-05", "1e-08"]
    assert [token_words(token) for token in (" dog", "dog ", "  ", "", "\n")] == ["␣dog", "dog␣", "␣␣", "", "\\n"]
    assert phrase_words(" a dog ") == "a dog"
    assert phrase_words("x" * 100, most=10) == "x" * 9 + "…"
