import asyncio
import subprocess
import sys
from typing import Any

import pytest

from agent.commands.doctor import KEYS
from agent.errors import ExplainerError
from agent.evidence.digest import digest
from agent.llm import EXPLAINERS, make_explainer
from agent.llm.base import Bound, Request, Usage
from agent.llm.heads import head_of
from agent.llm.offline import WHEN_FLAT, WHEN_MIXED, Reading, propose
from agent.schema import Proposal
from probes.evidence import Evidence, Projection, TokenList
from probes.settings import ProbeSettings
from tests.fakes import DOGS, GENERIC, MIXED, scored, tree


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


def context(*evidence: Evidence, last: bool = False, history: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"evidence": digest(evidence, 2.0), "last": last, "history": [*history]}


def past(asked: dict[str, Any], *evidence: Evidence) -> dict[str, Any]:
    return {"evidence": digest(evidence, 2.0), "asked": asked}


def test_a_pure_tree_is_a_label_at_once_and_says_that_no_language_model_spoke() -> None:
    proposal = propose(context(tree(DOGS), tree(DOGS)))
    assert (proposal.action, proposal.label) == ("label", "dog")
    assert proposal.confidence == pytest.approx(0.9)
    assert "Rule-based baseline" in proposal.explanation
    assert proposal.evidence[:2] == ("E1.1", "E1.2")


def test_two_sides_that_agree_are_surer_than_one_alone() -> None:
    both, one = (propose(context(tree(DOGS), tree(other), last=True)) for other in (DOGS, GENERIC))
    assert (both.label, one.label) == ("dog", "dog")
    assert both.confidence > one.confidence


def test_the_word_itself_in_a_list_is_support_and_is_cited() -> None:
    settings = ProbeSettings()
    listed = TokenList(7, settings, scored(" Fruit", " xyz"))
    without, with_list = (propose(context(tree(MIXED), *more, last=True)) for more in ((), (listed,)))
    assert with_list.confidence > without.confidence
    assert "E2.1" in with_list.evidence
    assert "E2.1" not in without.evidence


def test_a_flat_tree_asks_for_each_setting_once_and_then_abstains() -> None:
    history: tuple[dict[str, Any], ...] = ()
    for change in WHEN_FLAT:
        proposal = propose(context(tree(GENERIC), history=history))
        assert (proposal.action, proposal.settings) == ("probe", change)
        history += (past(change.model_dump(exclude_none=True), tree(GENERIC)),)
    proposal = propose(context(tree(GENERIC), history=history))
    assert proposal.action == "abstain"
    assert "Rule-based baseline" in proposal.reason


def test_a_mixed_tree_asks_for_a_blend_and_settles_in_the_last_round() -> None:
    evidence = (tree(MIXED), tree(MIXED))
    assert propose(context(*evidence)).settings == WHEN_MIXED[0]
    assert propose(context(*evidence, last=True)).label == "fruit"


def test_an_even_tie_is_no_label() -> None:
    tie = {'a fruit that"': 0.45, 'a tree that"': 0.45}
    assert propose(context(tree(tie), last=True)).action == "abstain"


def test_the_best_round_wins_whichever_it_was() -> None:
    earlier = past({"weights": "blend:0.5"}, tree(DOGS))
    proposal = propose(context(tree(MIXED), history=(earlier,)))
    assert (proposal.action, proposal.label) == ("label", "dog")


def test_broad_heads_need_twice_the_mass() -> None:
    people = {'a person who runs"': 0.55}
    dogs = {'a dog who runs"': 0.55}
    assert propose(context(tree(people), last=True)).action == "abstain"
    assert propose(context(tree(dogs), last=True)).action == "label"


def test_a_phrase_cut_off_counts_only_with_a_whole_one_beside_it() -> None:
    assert propose(context(tree({"a small": 0.9}), last=True)).action == "abstain"
    assert propose(context(tree({"a dog": 0.6, 'a dog that"': 0.3}), last=True)).confidence == pytest.approx(0.9)


def test_confidence_rises_with_mass_and_falls_with_the_runner_up() -> None:
    def confidence(first: float, second: float) -> float:
        return Reading([], strength=first, second_strength=second).confidence

    assert confidence(1.0, 0.0) == 1.0
    assert confidence(0.8, 0.1) > confidence(0.7, 0.1) > confidence(0.7, 0.3)


def test_nothing_at_all_is_an_abstention() -> None:
    settings = ProbeSettings()
    for evidence in ((), (tree({}),), (TokenList(7, settings, ()), Projection(7, settings, (), ()))):
        assert propose(context(*evidence, last=True)).action == "abstain"


def test_the_exchange_is_logged_as_what_it_is() -> None:
    request = Request(7, 1, "explain", 0, "", "", "explain", "", context(tree(DOGS)))
    answer = asyncio.run(make_explainer("offline").answer(request))
    assert answer.proposal == Proposal.model_validate_json(answer.exchange.response)
    assert (answer.exchange.provider, answer.exchange.model, answer.exchange.cost_usd) == ("offline", "rules-1", 0.0)
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
