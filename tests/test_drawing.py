"""Trees as SVG and DOT: well-formed whatever the tokens, and showing what the tree holds."""

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib.image as mpimg
import numpy as np
import pytest

from agent.drawing.layout import MAX_GAIN, gain_hue
from agent.drawing.raster import tree_png
from agent.drawing.svg import tree_dot, tree_svg
from agent.evidence.badge import tree_badge
from agent.evidence.branches import Branch, Trim, drawn
from agent.evidence.closing import until_quote
from agent.evidence.glyphs import spelt
from agent.evidence.printable import printable
from agent.evidence.wording import percent, phrase_words, token_words
from probes.evidence import Contrast, Tree, tree_json
from tests.fault_runs import commands, environment
from tests.score_commands import tiny_options
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


def test_ranked_by_lift_what_the_ghost_adds_comes_first() -> None:
    tree = tree_of([(["the", " thing"], 0.5), (["a", " dog"], 0.3), (["a", " man"], 0.1)])
    the, a, thing, dog, man = range(1, 6)
    nulls = {the: 0.5, a: 0.35, thing: 0.5, dog: 0.01, man: 0.3}
    tree = contrasted(tree, [nulls[node] for node in range(1, 6)])
    assert phrases(drawn(tree, Trim()).root) == ["the thing", "a"]
    root = drawn(tree, Trim(rank="lift")).root
    assert phrases(root) == ["a", "the thing"]
    assert phrases(root.children[0]) == [" dog", " man"]
    assert phrases(drawn(tree, Trim(most=2, rank="lift")).root) == ["a dog"]
    assert tree.ranks("lift")[a] == pytest.approx(0.3 * math.log(0.3 / 0.01))
    told = tree_json(tree, "lift")["root"]["children"]
    assert [child["token"] for child in told] == ["a", "the"]
    assert [child["token"] for child in tree_json(tree)["root"]["children"]] == ["the", "a"]
    bare = replace(tree, contrast=None)
    assert bare.ranks("lift") == bare.probabilities


def test_trimming_by_probability() -> None:
    assert [branch.text for branch, _ in drawn(DOG, Trim(least=0.3)).walk()] == ['a kind of dog"']


ENDS = tree_of(
    [
        (["a", " dog", '".\n', "A", " cat"], 0.2),
        (["a", " dog", ' "'], 0.25),
        (["a", " dog", " that", ' barks"', " or"], 0.3),
        (["a", ' wolf"'], 0.1),
    ]
)


def test_a_definition_ends_at_its_closing_quote() -> None:
    found = drawn(until_quote(ENDS), Trim()).walk()
    assert [(branch.text, depth, round(branch.probability, 3)) for branch, depth in found] == [
        ("a", 1, 0.85),
        (" dog", 2, 0.75),
        ('"', 3, 0.45),
        (' that barks"', 3, 0.3),
        (' wolf"', 2, 0.1),
    ]
    assert "cat" not in tree_svg(ENDS, Trim())
    assert "cat" not in tree_dot(ENDS, Trim())


def test_ends_that_look_alike_are_one_with_their_lift() -> None:
    tree = until_quote(replace(ENDS, contrast=Contrast(ENDS.probabilities, ENDS.probabilities, 1.0, 0.01, 9)))
    end = next(node for node in range(1, tree.n_nodes) if tree.texts[tree.token_ids[node]] == '"')
    assert tree.probabilities[end] == pytest.approx(0.45)
    assert tree.lifts == pytest.approx([0.0] * tree.n_nodes)
    assert all(parent < node for node, parent in enumerate(tree.parents))


@pytest.mark.parametrize("prompt", ["{ghost} means", 'Is "{ghost}" a'])
def test_quotes_mean_nothing_where_the_prompt_opens_none(prompt: str) -> None:
    tree = replace(ENDS, prompt=prompt)
    assert until_quote(tree) is tree


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
    rows = [element.attrib["y"] for element in svg.iter(f"{SVG}text") if element.attrib["fill"] == "#222222"]
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
    dot = tree_dot(tree_of([(["\\", '\\"'], 0.5)]), Trim())
    label = re.search(r'  n0 \[label="(.*)"\];', dot)
    assert label
    assert re.sub(r"\\(.)", r"\1", label[1]) == '\\\\"  50%'


def contrasted(tree: Tree, nulls: Sequence[float | None], p_value: float = 0.01) -> Tree:
    """The tree with these probabilities after random directions, the root's 1 before them."""
    null = (1.0, *nulls, *[None] * (tree.n_nodes - 1 - len(nulls)))
    return replace(tree, contrast=Contrast(null, null, 1.0, p_value, 40))


def test_a_phrase_has_the_lift_of_its_last_token_that_has_one() -> None:
    tree = tree_of([(["a", " kind", " of"], 0.9)])
    assert drawn(tree, Trim()).root.children[0].lift is None
    lifted = drawn(contrasted(tree, [0.9, 0.9 / math.e]), Trim()).root.children[0]
    assert (lifted.text, lifted.lift) == ("a kind of", pytest.approx(1.0))


def test_edges_are_coloured_by_what_their_words_add_and_a_legend_says_so() -> None:
    tree = tree_of([(["up", " same"], 0.4), (["up", " down"], 0.3), (["unknown"], 0.1)])
    up, unknown, same, down = tree.probabilities[1:]
    picture = contrasted(tree, [up / math.e**4, None, same / math.e**4, down / math.e**2])
    svg = ElementTree.fromstring(tree_svg(picture, Trim()))
    hues = [path.attrib["stroke"] for path in svg.iter(f"{SVG}path")]
    assert (up, unknown) == (0.7, 0.1)
    assert hues == [gain_hue(4.0), gain_hue(0.0), gain_hue(-2.0), gain_hue(None)]
    swatches = [rect.attrib["fill"] for rect in svg.iter(f"{SVG}rect")][1:]
    assert (swatches[0], swatches[-1]) == (gain_hue(-MAX_GAIN), gain_hue(MAX_GAIN))
    assert any("relative to random directions" in (text.text or "") for text in svg.iter(f"{SVG}text"))
    height = float(svg.attrib["height"])
    assert all(float(text.attrib["y"]) < height for text in svg.iter(f"{SVG}text"))


def test_words_that_add_much_are_written_in_their_colour() -> None:
    tree = contrasted(tree_of([(["told"], 0.5), (["not"], 0.4)]), [0.5 / math.e**3, 0.4])
    svg = ElementTree.fromstring(tree_svg(tree, Trim()))
    inks = {text.text: text.attrib["fill"] for text in svg.iter(f"{SVG}text")}
    assert inks["told"] != inks["not"] == "#222222"


def test_without_contrast_branches_keep_their_hues() -> None:
    svg = ElementTree.fromstring(tree_svg(DOG, Trim()))
    hues = [path.attrib["stroke"] for path in svg.iter(f"{SVG}path")]
    assert hues == ["#2f6f9f"] * 3 + ["#b3572b", "#4a7d3c"]
    assert len(list(svg.iter(f"{SVG}rect"))) == 1


def test_the_scale_of_colour_has_no_steps_and_two_ends() -> None:
    gains = [step / 4 for step in range(-24, 25)]
    assert len({gain_hue(gain) for gain in gains}) == len(gains)
    assert gain_hue(99) == gain_hue(MAX_GAIN)
    assert gain_hue(-99) == gain_hue(-MAX_GAIN)
    assert gain_hue(None) not in map(gain_hue, gains)


def test_a_tree_that_is_no_different_is_said_to_be() -> None:
    assert "does not differ from random directions (p 0.39)" in tree_svg(contrasted(DOG, [], p_value=16 / 41), Trim())
    assert "hardly differs" in tree_svg(contrasted(DOG, [], p_value=0.2), Trim())
    assert "differs" not in tree_svg(contrasted(DOG, [], p_value=0.05), Trim())


def test_a_tree_that_a_sweep_chose_is_compared_with_the_best_of_as_many() -> None:
    grown = contrasted(DOG, [], p_value=4 / 41)
    assert grown.contrast is not None
    chosen = replace(grown, contrast=replace(grown.contrast, n_candidates=36))
    assert chosen.contrast is not None
    told = "the best of 36 vectors; 3 of 40 random features do as well with their own best (p 0.098)."
    assert tree_badge(chosen.contrast).sentence.endswith(told)
    assert "hardly differs from random directions (p 0.098)" in tree_svg(chosen, Trim())


def test_dot_has_the_colours_and_the_legend() -> None:
    dot = tree_dot(contrasted(tree_of([(["up"], 0.4)]), [0.4e-3]), Trim())
    assert f'color="{gain_hue(math.log(1000))}"' in dot
    assert "legend" in dot
    statements(dot)


def pixels(png: bytes) -> np.ndarray:
    """[height, width, 4], from 0 to 1."""
    return mpimg.imread(BytesIO(png))


@pytest.mark.parametrize("tree", [NASTY_TREE, FORKED_DEEP, tree_of([])], ids=["nasty", "forks", "empty"])
def test_png_survives_any_tree(tree: Tree) -> None:
    picture = pixels(tree_png(tree, Trim(most=50)))
    assert max(picture.shape) <= 16_001
    assert picture.std() > 0.01


def test_png_is_the_svg_at_twice_its_size() -> None:
    svg = ElementTree.fromstring(tree_svg(DOG, Trim()))
    picture = pixels(tree_png(DOG, Trim()))
    assert picture.shape[:2] == (2 * int(svg.attrib["height"]), 2 * int(svg.attrib["width"]))
    [root] = svg.iter(f"{SVG}circle")
    x, y = 2 * float(root.attrib["cx"]), 2 * float(root.attrib["cy"])
    assert picture[int(y), int(x), :3].max() < 0.2
    assert tree_png(DOG, Trim()) == tree_png(DOG, Trim())


def test_what_a_font_cannot_write_is_an_escape() -> None:
    assert spelt("dog 犬\u202e $x$", "DejaVu Sans Mono") == "dog \\u72ac\\u202e $x$"


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


def test_interpret_tree_writes_a_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interpret, options = commands(capsys), [*tiny_options(tmp_path), "--cutoff", "0.1", "--contrast", "off"]
    target = tmp_path / "tree.png"
    with environment():
        said = interpret("tree", "0", "--png", str(target), *options)
        assert (said.status, f"Wrote {target}." in said.out) == (0, True), said.err
        assert target.read_bytes().startswith(b"\x89PNG")
        assert interpret("tree", "0", "--png", str(tmp_path / "none" / "a.png"), *options).status == 2
        assert interpret("tree", "0", "--png", str(target), "--dot", *options).status == 2
