"""What the log stores is what it was given: evidence, any string at all, sets of features; and no key ever."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.log import codec
from agent.log.rows import as_ranges, compressed, escape, from_ranges, unescape
from agent.secrets import without_secrets
from probes.evidence import Contrast, Evidence, ScoredToken, TokenList, Tree
from tests.fakes import vocabulary_list
from tests.logged import SETTINGS, grown_tree, projection, token_list

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=20)


def stored(evidence: Evidence) -> Evidence:
    return codec.decode(codec.kind_of(evidence), evidence.feature, evidence.settings, codec.encode(evidence))


def test_a_tree_comes_back_with_probabilities_within_a_two_thousandth() -> None:
    tree = grown_tree(1600)
    back = stored(tree)
    assert isinstance(back, Tree)
    assert back.probabilities == pytest.approx(tree.probabilities, rel=5.01e-4, abs=0)
    assert back.probabilities[0] == 1.0
    assert dataclasses.replace(back, probabilities=tree.probabilities) == tree


def test_a_tree_that_float32_rounds_otherwise_on_another_machine_is_stored_alike() -> None:
    tree = stored(grown_tree(300))
    assert isinstance(tree, Tree)
    other = dataclasses.replace(tree, probabilities=tuple(p * (1 + 3e-6) for p in tree.probabilities))
    assert codec.encode(other) == codec.encode(tree)


def test_a_contrast_comes_back_where_nodes_were_looked_at() -> None:
    null, centroid = {0: 1.0, 1: 0.5, 3: 0.02}, {0: 1.0, 1: 0.25, 3: 1e-9}
    columns = (tuple(map(column.get, range(5))) for column in (null, centroid))
    back = stored(dataclasses.replace(grown_tree(4), contrast=Contrast(*columns, 0.31234567, 0.25, 99)))
    assert isinstance(back, Tree)
    assert back.contrast is not None
    for column, there in ((back.contrast.null, null), (back.contrast.centroid, centroid)):
        assert {node: p for node, p in enumerate(column) if p is not None} == pytest.approx(there, rel=5.01e-4)
    assert (back.contrast.divergence, back.contrast.p_value) == (0.31235, 0.25)


def test_a_tree_whose_parents_are_in_depth_first_order_comes_back() -> None:
    tree = dataclasses.replace(grown_tree(6), parents=(-1, 0, 1, 2, 1, 0, 5))
    assert stored(tree).parents == tree.parents  # type: ignore[union-attr]


def test_a_tree_that_is_only_a_root_comes_back() -> None:
    assert stored(grown_tree(0)) == grown_tree(0)


def test_a_tree_of_1600_nodes_takes_under_11_kilobytes() -> None:
    # 537 different tokens with random letters for texts.
    assert len(compressed(codec.encode(grown_tree(1600)))) < 11_000


@pytest.mark.parametrize("evidence", [token_list(" dog", "\ud83d", "\0"), projection()], ids=["tokens", "projection"])
def test_lists_come_back(evidence: Evidence) -> None:
    assert stored(evidence) == evidence


def test_a_vocabulary_list_comes_back_with_all_that_it_rests_on() -> None:
    listed = vocabulary_list(" law", " laws", p_value=0.004, note="in context")
    assert stored(listed) == listed
    assert listed.z
    assert stored(dataclasses.replace(listed, threshold=None)).threshold is None  # type: ignore[union-attr]


def test_scores_keep_five_digits() -> None:
    listed = TokenList(5, SETTINGS, (ScoredToken(1, "a", 0.87123450279236), ScoredToken(2, "b", -12.3456789e-9)))
    back = stored(listed)
    assert isinstance(back, TokenList)
    assert [token.score for token in back.tokens] == [0.87123, -1.2346e-8]


@pytest.mark.parametrize("evidence", [grown_tree(300), projection()], ids=["tree", "projection"])
def test_storing_what_was_stored_changes_nothing(evidence: Evidence) -> None:
    assert codec.encode(stored(evidence)) == codec.encode(evidence)


def test_the_summary_shows_the_leading_tokens() -> None:
    tree = grown_tree(50)
    first = tree.texts[tree.token_ids[1]]
    assert codec.summary_of(tree).startswith(f"{first!r} {tree.probabilities[1]:.3g}")
    assert codec.summary_of(token_list("\x1b[31m", " dog")) == r"'\x1b[31m' 0.125, ' dog' 0.25"


@given(ANY_TEXT)
def test_any_string_is_stored_as_utf8_without_nul_and_comes_back(text: str) -> None:
    assert "\0" not in escape(text)
    assert unescape(escape(text).encode("utf-8").decode("utf-8")) == text


def test_text_that_looks_escaped_already_comes_back() -> None:
    assert escape("plain \\ud800 text") == "plain \\ud800 text"
    assert unescape(escape("␛d800 ␛␛")) == "␛d800 ␛␛"
    assert escape("\ud800") == "␛d800"


@given(st.frozensets(st.integers(0, 300)))
def test_ranges_come_back(features: frozenset[int]) -> None:
    assert from_ranges(as_ranges(features)) == features


def test_ranges_are_short() -> None:
    assert as_ranges([503, *range(501), 7]) == "0-500,503"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("interpret --api-key abc123 --features 7", "interpret --api-key *** --features 7"),
        ("interpret --base-url http://me:hunter2@host/v1", "interpret --base-url http://me:***@host/v1"),
        ("OPENAI_API_KEY=verysecret interpret", "OPENAI_API_KEY=*** interpret"),
        ("interpret --llm x sk-ant-REDACTED", "interpret --llm x ***"),
        ("interpret hf_abcdefghijklmnop", "interpret ***"),
        ("interpret tokens 121 --json --top-k 5", "interpret tokens 121 --json --top-k 5"),
    ],
)
def test_secrets_are_blanked(typed: str, kept: str) -> None:
    assert without_secrets(typed) == kept
