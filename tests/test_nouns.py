"""Head nouns of a tree: their shares, their lifts, and several trees beside each other."""

import math
from dataclasses import replace

import pytest

from agent.evidence.definitions import compared, defining_part
from agent.evidence.digest import digest
from agent.evidence.heads import beginning
from agent.evidence.nouns import nouns, null_nouns
from agent.evidence.table import table
from probes.evidence import Contrast, Tree
from probes.settings import ProbeSettings
from tests.fakes import DOGS, MIXED, contrasted, tree

BREEDS = {'a dog"': 0.3, 'a breed of dog that barks"': 0.2, "a dog": 0.1, 'a person who runs"': 0.2}


def with_null(made: Tree, least: float, **null: float) -> Tree:
    """The tree compared down to `least`: nodes of these texts have these nulls, the others go on as in the tree."""
    nulls = [1.0]
    for parent, token_id, p in [*zip(made.parents, made.token_ids, made.probabilities, strict=True)][1:]:
        nulls.append(null.get(made.texts[token_id].strip(), nulls[parent] * p / made.probabilities[parent]))
    seen = tuple(n if p >= least else None for n, p in zip(nulls, made.probabilities, strict=True))
    return replace(made, contrast=Contrast(seen, seen, 0.4, 0.01, 99))


def side(made: Tree, weights: str) -> Tree:
    settings = {"vector": {"weights": weights, "scale": 2.0}, "tree": {"prompt": "definition"}}
    return replace(made, settings=ProbeSettings.parse(settings))


def test_the_share_of_a_noun_is_summed_over_its_wordings() -> None:
    found = {noun.word: noun for noun in nouns(defining_part(tree(BREEDS)))}
    assert found["dog"].share == pytest.approx(0.6)
    assert found["dog"].wordings == 2
    assert found["dog"].lift is None
    assert found["person"].share == pytest.approx(0.2)


def test_a_phrase_that_breaks_off_is_no_noun_without_a_whole_one_beside_it() -> None:
    assert nouns(defining_part(tree({"a small": 0.9}))) == []


def test_lift_compares_the_shares_of_the_same_nodes() -> None:
    compared_tree = with_null(tree({'a dog"': 0.6, 'a cat"': 0.2}), 0.1, a=0.9, dog=0.06, cat=0.2)
    lifts = {noun.word: noun.lift for noun in nouns(defining_part(compared_tree))}
    assert lifts["dog"] == pytest.approx(math.log(0.6 / 0.06))
    assert lifts["cat"] == pytest.approx(0.0)


def test_a_noun_that_was_not_looked_at_has_no_lift() -> None:
    compared_tree = with_null(tree({'a dog"': 0.6, 'a cat"': 0.04}), 0.1)
    lifts = {noun.word: noun.lift for noun in nouns(defining_part(compared_tree))}
    assert lifts["dog"] is not None
    assert lifts["cat"] is None


def test_a_noun_that_random_directions_never_write_has_a_finite_lift() -> None:
    (noun,) = nouns(defining_part(with_null(tree({'a dog"': 0.6}), 0.1, dog=0.0)))
    assert noun.lift is not None
    assert math.isfinite(noun.lift)


def test_what_is_compared_divides_both_columns() -> None:
    found = compared(defining_part(with_null(tree(MIXED), 0.05, fruit=0.1, tree=0.2, person=0.05)))
    assert sum(opening.share for opening in found) == pytest.approx(1.0)
    assert sum(opening.null or 0.0 for opening in found) == pytest.approx(1.0)
    assert compared(defining_part(tree(MIXED))) == []


def test_the_nulls_own_nouns_are_known_as_far_as_the_tree_goes() -> None:
    shares = null_nouns(defining_part(with_null(tree(MIXED), 0.05, fruit=0.1, tree=0.2, person=0.3)))
    assert shares == pytest.approx({"person": 0.3, "tree": 0.2, "fruit": 0.1})


def test_sides_stand_beside_each_other_by_noun() -> None:
    one, other = side(tree(DOGS), "encoder"), side(tree(MIXED | {'a dog"': 0.1}), "decoder")
    found = table(digest([one, other], 2.0))
    assert found is not None
    assert [tree["side"] for tree in found["trees"]] == ["encoder", "decoder"]
    assert found["rows"][0]["word"] == "dog"
    assert [round(cell["value"], 6) for cell in found["rows"][0]["cells"] if cell] == [0.9, 0.1]
    fruit = next(row["cells"] for row in found["rows"] if row["word"] == "fruit")
    assert [cell and cell["id"] for cell in fruit] == [None, "E2.1"]
    assert found["rest"] == pytest.approx([0.1, 0.1])
    assert found["settings"] == {'scale 1 x the default, base prompt "definition"': ["E1", "E2"]}


def test_of_three_trees_a_table_has_three_definitions_and_one_null() -> None:
    trees = [contrasted(side(tree(DOGS), weights), 0.01, 0.5) for weights in ("vocabulary", "encoder", "decoder")]
    found = table(digest(trees, 2.0))
    assert found is not None
    assert [line["id"].partition(".")[0] for line in found["definitions"]] == ["E1", "E2", "E3"]
    assert found["null"] == {"dog": pytest.approx(0.45)}


def test_without_trees_there_is_no_table() -> None:
    assert table([]) is None


@pytest.mark.parametrize(
    ("text", "more", "start"),
    [
        ("a kind of dog that barks at night", 2, "a kind of dog that barks"),
        ("a dog", 3, "a dog"),
        ("a dog, or a wolf", 1, "a dog,"),
        ("to run very fast", 1, "to run very"),
        ("rules of the law", 3, "rules of the law"),
        ("of", 4, "of"),
        ("", 4, ""),
    ],
)
def test_the_beginning_of_a_definition(text: str, more: int, start: str) -> None:
    assert beginning(text, more) == start
