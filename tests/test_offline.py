import asyncio
import subprocess
import sys
from typing import Any

import pytest

from agent.cli.commands.doctor import KEYS
from agent.errors import ExplainerError
from agent.evidence.digest import digest
from agent.evidence.heads import head_of
from agent.llm import EXPLAINERS, make_explainer
from agent.llm.base import Bound, Request, Usage
from agent.llm.offline import CHANGES, propose
from agent.llm.reading import EvidenceReading, akin
from agent.schema import Proposal
from probes.evidence import Evidence, Projection, TokenList, Tree
from probes.settings import ProbeSettings
from tests.fakes import DOGS, GENERIC, MIXED, Definitions, contrasted, scored, tree, vocabulary_list


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("a kind of dog that barks at a baker in the tower", "dog"),
        ("a dog kept to guard the house", "dog"),
        ("the name of a city with towers", "city"),
        ("an animal that", "animal"),
        ("to move slowly", "move"),
        ("to be happy in spring", "happy"),
        ("a motion in which one goes fast", "motion"),
        ("a small baked dessert that is sweet", "dessert"),
        ("a tall building with", "building"),
        ("a part of the body, mostly", "body"),
        ("a body part that", "body"),
        ("one of the dogs which", "dogs"),
        ("in a manner that", "manner"),
        ("a word for a kind of size, or", "size"),
        ("the state of being angry and", "angry"),
        ("a person's hat (old)", "hat"),
        ("someone who steals", "person"),
        ("A Dog That Barks", "dog"),
        ("café where", "café"),
    ],
)
def test_the_head_of_a_definition(text: str, head: str) -> None:
    found = head_of(text, closed=False)
    assert found is not None
    assert (found.word, found.bounded) == (head, True)


@pytest.mark.parametrize(
    "text", ["", "a", "a kind of", "the name of a", "to", "to be", "that which is", "of", "!?", "42"]
)
def test_texts_without_a_head(text: str) -> None:
    assert head_of(text, closed=True) is None


def test_a_phrase_that_breaks_off_is_not_known_to_have_ended() -> None:
    broken, whole = head_of("a small", closed=False), head_of("a dog", closed=True)
    assert broken is not None
    assert whole is not None
    assert (broken.bounded, whole.bounded) == (False, True)


TINY: Definitions = {'a cat that"': 0.05, 'a hat that"': 0.05}
PEOPLE: Definitions = {'a person who runs"': 0.7}


def context(*evidence: Evidence, last: bool = False, history: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"evidence": digest(evidence, 2.0), "last": last, "history": [*history]}


def past(asked: dict[str, Any], *evidence: Evidence) -> dict[str, Any]:
    return {"evidence": digest(evidence, 2.0), "asked": asked}


def side(definitions: Definitions, weights: str = "encoder", p_value: float | None = 0.01, null: float = 0.01) -> Tree:
    """A tree of that side; None: not compared with random directions."""
    settings = ProbeSettings.parse({"vector": {"weights": weights, "scale": 2.0}})
    made = tree(definitions, settings=settings)
    return made if p_value is None else contrasted(made, p_value, null)


def sides(definitions: Definitions, p_value: float | None = 0.01) -> tuple[Tree, Tree]:
    return side(definitions, "encoder", p_value), side(definitions, "decoder", p_value)


def test_a_pure_tree_is_a_label_at_once_and_says_that_no_language_model_spoke() -> None:
    proposal = propose(context(*sides(DOGS)))
    assert (proposal.action, proposal.label) == ("label", "dog")
    assert proposal.confidence == pytest.approx(0.9)
    assert "Rule-based baseline" in proposal.explanation
    assert proposal.evidence[:2] == ("E1.1", "E1.2")


def test_a_tree_like_those_of_random_directions_is_no_label_however_well_it_reads() -> None:
    proposal = propose(context(*sides(DOGS, p_value=0.4)))
    assert (proposal.action, proposal.label) == ("abstain", "")
    assert "random directions" in proposal.reason
    assert propose(context(*sides(DOGS, p_value=0.06), last=True)).action == "abstain"


def test_only_the_side_that_differs_is_read() -> None:
    proposal = propose(context(side(DOGS, "encoder", 0.6), side(MIXED, "decoder", 0.01), last=True))
    assert proposal.label == "fruit"


def test_one_side_of_a_weaker_verdict_needs_another_voice() -> None:
    weaker = side(DOGS, "decoder", 0.04)
    assert propose(context(side(TINY, "encoder", 0.5), weaker, last=True)).action == "abstain"
    assert propose(context(side(DOGS, "encoder", 0.5), weaker, last=True)).label == "dog"
    listed = TokenList(7, ProbeSettings(), scored(" Dogs", " xyz"))
    assert propose(context(side(TINY, "encoder", 0.5), weaker, listed, last=True)).label == "dog"
    blend = past({"weights": "blend:0.5"}, side(DOGS, "blend:0.5", 0.04))
    alone = context(side(TINY, "encoder", 0.5), weaker, last=True)
    assert propose({**alone, "history": [past({}, side(TINY, p_value=0.2)), blend]}).action == "abstain"


def test_confidence_falls_with_the_verdict() -> None:
    found = [propose(context(*sides(DOGS, p_value), last=True)).confidence for p_value in (0.01, 0.02, 0.05)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == 3


def test_a_run_without_contrast_labels_with_less_confidence() -> None:
    proposal = propose(context(*sides(DOGS, p_value=None)))
    assert proposal.label == "dog"
    assert proposal.confidence == pytest.approx(0.45)


def test_the_word_itself_in_a_list_is_support_and_is_cited() -> None:
    listed = TokenList(7, ProbeSettings(), scored(" Fruit", " xyz"))
    without, with_list = (propose(context(side(MIXED), *more, last=True)) for more in ((), (listed,)))
    assert with_list.confidence > without.confidence
    assert "E2.1" in with_list.evidence
    assert "E2.1" not in without.evidence


def test_a_flat_tree_asks_for_each_setting_once_and_then_abstains() -> None:
    history: tuple[dict[str, Any], ...] = ()
    for change in CHANGES:
        proposal = propose(context(side(GENERIC), history=history))
        assert (proposal.action, proposal.settings) == ("probe", change)
        history += (past(change.model_dump(exclude_none=True), side(GENERIC)),)
    proposal = propose(context(side(GENERIC), history=history))
    assert proposal.action == "abstain"
    assert "Rule-based baseline" in proposal.reason


def test_a_mixed_tree_looks_again_and_settles_in_the_last_round() -> None:
    assert propose(context(*sides(MIXED))).settings == CHANGES[0]
    assert propose(context(*sides(MIXED), last=True)).label == "fruit"


def test_an_even_tie_is_no_label() -> None:
    tie = {'a fruit that"': 0.45, 'a tree that"': 0.45}
    assert propose(context(side(tie), last=True)).action == "abstain"


def test_the_best_round_wins_whichever_it_was() -> None:
    earlier = past({"weights": "blend:0.5"}, side(DOGS))
    proposal = propose(context(side(MIXED), history=(earlier,)))
    assert (proposal.action, proposal.label) == ("label", "dog")


def test_broad_heads_need_twice_the_mass() -> None:
    assert propose(context(side({'a person who runs"': 0.55}), last=True)).action == "abstain"
    assert propose(context(side({'a dog who runs"': 0.55}), last=True)).action == "label"


def test_a_phrase_cut_off_counts_only_with_a_whole_one_beside_it() -> None:
    assert propose(context(side({"a small": 0.9}), last=True)).action == "abstain"
    assert propose(context(side({"a dog": 0.6, 'a dog that"': 0.3}), last=True)).confidence == pytest.approx(0.9)


def test_certainty_rises_with_mass_and_falls_with_the_runner_up() -> None:
    def certainty(first: float, second: float) -> float:
        return EvidenceReading(strength=first, second_strength=second).certainty

    assert certainty(1.0, 0.0) == 1.0
    assert certainty(0.8, 0.1) > certainty(0.7, 0.1) > certainty(0.7, 0.3)


def test_the_vocabularys_tree_is_read_before_the_others() -> None:
    proposal = propose(context(side(MIXED, "vocabulary", 0.01), *sides(DOGS), last=True))
    assert proposal.label == "fruit"


def test_the_vocabularys_tree_counts_where_its_list_differs_whatever_its_own_verdict() -> None:
    for own in (0.01, 0.2):
        grown = side(DOGS, "vocabulary", own)
        assert propose(context(grown, vocabulary_list(" leash", " barking", p_value=0.01), last=True)).label == "dog"
        assert propose(context(grown, vocabulary_list(" dogs", p_value=0.2), last=True)).action == "abstain"


def test_a_vocabulary_tree_without_a_list_is_one_of_all_that_was_compared() -> None:
    grown = side(DOGS, "vocabulary", 0.04)
    assert propose(context(grown, last=True)).label == "dog"
    assert propose(context(grown, *sides(MIXED, 0.5), last=True)).action == "abstain"


def test_a_list_is_probed_once_and_counts_in_every_round() -> None:
    listed, grown = vocabulary_list(" leash", " barking", p_value=0.01), side(MIXED, "vocabulary", 0.2)
    again = context(side(DOGS, "vocabulary", 0.2), last=True)
    earlier = context(grown, listed)
    again["history"] = [{"evidence": earlier["evidence"], "asked": {"scale": 1.5}}]
    assert propose(again).label == "dog"


def test_a_generic_noun_gives_way_to_the_word_that_the_list_is_made_of() -> None:
    listed = vocabulary_list(" lawyers", " law", " LAWS", " court")
    proposal = propose(context(side(PEOPLE, "vocabulary"), listed))
    assert (proposal.action, proposal.label) == ("label", "law, court")
    assert {"E2.2", "E2.4"} <= {*proposal.evidence}
    assert '75% are "law" and forms of it' in proposal.explanation
    spelt = vocabulary_list(" court", "Law", " law", " LAW", " judge")
    assert propose(context(side(PEOPLE, "vocabulary"), spelt)).label == "law, court, judge"
    assert propose(context(side(DOGS, "vocabulary"), listed)).label == "dog"
    common = side({'a tool that"': 0.9}, "vocabulary", 0.01, null=0.9)
    assert propose(context(common, listed)).label == "law, court"


def test_a_list_like_those_of_random_directions_gives_no_word() -> None:
    for p_value in (0.3, None):
        listed = vocabulary_list(" lawyers", " law", " LAWS", p_value=p_value)
        assert propose(context(side(PEOPLE, "vocabulary", 0.3), listed, last=True)).action == "abstain"
    mixed = vocabulary_list(" lawyers", " law", " court", " judge")
    assert propose(context(side(PEOPLE, "vocabulary", 0.3), mixed, last=True)).action == "abstain"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("law", "lawyers", True),
        ("enabled", "enabling", True),
        ("dog", "dogs", True),
        ("a", "an", False),
        ("place", "location", False),
        ("present", "prepared", False),
        ("", "law", False),
    ],
)
def test_words_that_begin_alike_are_forms_of_one(one: str, other: str, alike: bool) -> None:
    assert akin(one, other) == akin(other, one) == alike


def test_nothing_at_all_is_an_abstention() -> None:
    settings = ProbeSettings()
    for evidence in ((), (tree({}),), (TokenList(7, settings, ()), Projection(7, settings, (), ()))):
        assert propose(context(*evidence, last=True)).action == "abstain"


def test_the_exchange_is_logged_as_what_it_is() -> None:
    request = Request(7, 1, "explain", 0, "", "", "explain", "", context(tree(DOGS)))
    answer = asyncio.run(make_explainer("offline").answer(request))
    assert answer.proposal == Proposal.model_validate_json(answer.exchange.response)
    assert (answer.exchange.provider, answer.exchange.model, answer.exchange.cost_usd) == ("offline", "rules-2", 0.0)
    assert (answer.exchange.usage, answer.exchange.form, answer.exchange.fault) == (Usage(), None, None)


def test_it_has_no_server_and_uses_nothing() -> None:
    explainer = make_explainer("offline")
    request = Request(7, 1, "explain", 0, "", "", "explain", "", context(tree(DOGS)))
    assert (explainer.address, explainer.forms, explainer.check()) == ("", (), "")
    assert explainer.bound(request) == Bound(tokens=0, cost_usd=0.0)
    assert explainer.cost_usd(Usage(10, 10)) == 0.0
    asyncio.run(explainer.close())


@pytest.mark.parametrize("llm", ["anthropic", "openai:gpt-x", "offlin", "", "offline:gpt-x"])
def test_explainers_that_cannot_be_used_get_one_sentence(llm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.replace("API_KEY", "BASE_URL"), raising=False)
    with pytest.raises(ExplainerError) as caught:
        make_explainer(llm)
    assert "offline" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_explainer_is_made_and_named_by_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "a-key-for-a-test")
        monkeypatch.delenv(name.replace("API_KEY", "BASE_URL"), raising=False)
    assert {name: make_explainer(name).provider for name in EXPLAINERS} == {name: name for name in EXPLAINERS}


def test_the_table_of_explainers_imports_no_sdk_and_no_torch() -> None:
    heavy = {"torch", "anthropic", "openai", "httpx2", "genai_prices"}
    code = f"import sys, agent.llm, agent.llm.offline; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_first_words_of_a_list_are_a_stopgap_unless_the_trees_say_nothing() -> None:
    listed = vocabulary_list(" tanker", " ferry", " canoe", " raft", p_value=0.01)
    hardly, not_at_all = side(GENERIC, "vocabulary", 0.2), side(GENERIC, "vocabulary", 0.5)
    assert propose(context(hardly, listed)).action == "probe"
    assert propose(context(hardly, listed, last=True)).label == "tanker, ferry, canoe"
    assert propose(context(not_at_all, listed)).label == "tanker, ferry, canoe"
    noun_later = context(side(DOGS, "vocabulary", 0.01), history=(past({}, hardly, listed),))
    assert propose(noun_later).label == "dog"
    weaker_later = context(side(MIXED, "vocabulary", 0.01), last=True, history=(past({}, hardly, listed),))
    assert propose(weaker_later).label == "fruit"  # though it is less of its tree than the words are of their list
    doubtful = vocabulary_list(" tanker", " ferry", " canoe", " raft", p_value=0.04)
    assert propose(context(not_at_all, doubtful, last=True)).action == "abstain"


def test_a_family_is_named_by_its_commonest_form() -> None:
    listed = vocabulary_list(" ordering", " order", "Order", " ORDER", "ord", " court")
    assert propose(context(side(PEOPLE, "vocabulary"), listed)).label == "order, court"
