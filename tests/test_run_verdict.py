"""Whether an agent beat its first answer and one shot: by how much, at what cost, and why that is not known."""

import pytest

from agent.llm.base import Answer, Exchange, Usage
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from agent.schema import Proposal, TextTest
from eval.scoring.run_verdict import verdict_sentences, verdicts
from tests.judging import CONCEPTS
from tests.logged import add_call, request
from tests.planted_labels import TRUE, Planted, RuleExplainer, plant, score

TESTS = {"tests": True}


def answered(log: RunLog, run_id: int, feature: int, round: int, proposal: Proposal, tokens: int = 100) -> None:
    exchange = Exchange("fake", "m", proposal.model_dump_json(), usage=Usage(tokens, 10), cost_usd=tokens / 1e5)
    add_call(log, run_id, request(feature, round=round), Answer(proposal, exchange))


def agent_run(log: RunLog, first: dict[int, str]) -> Planted:
    """True labels, each after another one that was tested and given up."""
    planted = plant(log, settings=TESTS)
    for feature, label in TRUE.items():
        test = Proposal(action="test", tests=(TextTest(text="x", expected=True, hypothesis=first[feature]),))
        answered(log, planted.run_id, feature, 1, test)
        answered(log, planted.run_id, feature, 2, Proposal(action="label", label=label, confidence=0.9), 300)
    return planted


NEXT = {feature: CONCEPTS[(feature + 1) % len(CONCEPTS)] for feature in TRUE}


def test_an_agent_that_gave_up_a_wrong_label_beat_its_first_answer(log: RunLog) -> None:
    planted = agent_run(log, NEXT)
    score(planted, RuleExplainer(), ["detection"])
    first, one_shot = verdicts(log, log.read(chosen_run, planted.run_id))
    assert (first.rival, first.ahead.n) == ("first", 6)
    assert first.ahead.value is not None
    assert first.ahead.value > 0.4
    assert (first.agent.calls, first.agent.tokens, first.agent.usd) == (2, 420, pytest.approx(0.004))
    assert (first.rivals.calls, first.rivals.tokens) == (2, 420)  # a label came with the second answer only
    assert (one_shot.rival, one_shot.ahead.value) == ("one_shot", 0)
    assert one_shot.rivals.calls == 1
    assert one_shot.rivals.tokens == 50
    told = [*verdict_sentences(log, log.read(chosen_run, planted.run_id))]
    assert "against its own first answer, by detection: ahead, +0." in told[0]
    assert "2.0 calls, 420 tokens, $0.0040 a feature" in told[0]
    assert "against one shot over top examples, by detection: no difference, +0.00 over 6 features" in told[1]
    assert "cost unknown" in told[1]


def test_one_shot_costs_what_it_cost_in_the_scoring_that_is_compared(log: RunLog) -> None:
    planted = agent_run(log, NEXT)
    for texts in (5, 6):
        score(planted, RuleExplainer(), ["detection"], texts=texts)
    _, one_shot = verdicts(log, log.read(chosen_run, planted.run_id))
    assert (one_shot.rivals.calls, one_shot.rivals.tokens) == (1, 50)


def test_an_agent_that_said_the_same_first_is_not_ahead(log: RunLog) -> None:
    planted = agent_run(log, dict(TRUE))
    score(planted, RuleExplainer(), ["detection"])
    first, _ = verdicts(log, log.read(chosen_run, planted.run_id))
    assert (first.ahead.value, first.ahead.n) == (0, 6)


def test_a_run_without_scores_says_why_and_one_that_answers_once_says_nothing(log: RunLog) -> None:
    planted = agent_run(log, NEXT)
    (told,) = verdict_sentences(log, log.read(chosen_run, planted.run_id))
    assert "unscored, because its labels have no scores; interpret score 1" in told
    once = plant(log, settings={"rounds": 1})
    assert [*verdict_sentences(log, log.read(chosen_run, once.run_id))] == []


def test_scores_without_a_first_answer_or_one_shot_say_so(log: RunLog) -> None:
    planted = plant(log, settings=TESTS)  # no calls, so no first answer; no judge, so no one shot
    score(planted, None, ["embedding"])
    (told,) = verdict_sentences(log, log.read(chosen_run, planted.run_id))
    assert "because its first answers have no scores" in told
