"""Identical questions: answered from the log, once each in a run, at no cost; and never where that is not wanted."""

import asyncio
from pathlib import Path

import pytest

from agent.calls.asking import Asker
from agent.calls.questions import Questions
from agent.llm.base import Answer, CallFault, Request
from agent.log.calls import attempts_of, spent_by
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.log.scores import ScoringIdentity, begin_scoring
from agent.schema import Check, Proposal
from tests.batch_runs import FEATURES, QUESTIONS, run_in_batches
from tests.batch_server import BatchServer
from tests.fakes import FakeExplainer, faulty, open_door
from tests.fault_cases import PROVIDERS
from tests.fault_runs import replayed
from tests.logged import identity, request

FIRST = Proposal(action="label", label="dog", confidence=0.8)
SECOND = Proposal(action="label", label="cat", confidence=0.3)
THIRD = Proposal(action="abstain", reason="It may be anything.")
SAME = {"prompt": "Evidence.", "system": "Read it."}


class Desk:
    """Runs of one log, each asked by an explainer that has these answers in turn."""

    def __init__(self, log: RunLog, *answers: Proposal | None) -> None:
        self.log = log
        self.explainer = FakeExplainer([*answers])

    def begin(self) -> int:
        return self.log.begin_run(identity(), [5], new=True).run_id

    def ask(self, run_id: int, asked: Request, from_log: bool = True, **settings: object) -> Answer:
        questions = Questions.to(self.explainer, from_log, **settings)
        asker = Asker(self.explainer, self.log, run_id, open_door(), questions=questions)
        return asyncio.run(asker.ask(asked))

    @property
    def n_asked(self) -> int:
        return len(self.explainer.requests)


def test_what_another_run_has_asked_is_answered_from_the_log_and_costs_nothing(log: RunLog) -> None:
    desk = Desk(log, FIRST, SECOND)
    desk.ask(desk.begin(), request(5, **SAME))
    other = desk.begin()
    assert desk.ask(other, request(7, **SAME)).value == FIRST
    assert desk.n_asked == 1
    (row,) = log.read(attempts_of, other, request(7, **SAME))
    assert (row.cached, row.fault, row.error, row.cost_usd, row.reserved_tokens) == (True, None, None, 0.0, 0)
    assert (row.input_tokens, row.output_tokens, row.prompt) == (0, 0, "Evidence.")
    spent = log.read(spent_by, other)
    assert (spent.calls, spent.tokens, spent.most_tokens, spent.most_usd) == (1, 0, 0, 0.0)


def test_no_run_is_given_one_answer_twice(log: RunLog) -> None:
    desk = Desk(log, FIRST, SECOND, THIRD)
    first = desk.begin()
    assert [desk.ask(first, request(n, **SAME)).value for n in (1, 2)] == [FIRST, SECOND]  # its own count for none
    other = desk.begin()
    assert [desk.ask(other, request(n, **SAME)).value for n in (3, 4)] == [FIRST, SECOND]
    assert desk.n_asked == 2
    assert desk.ask(other, request(5, **SAME)).value == THIRD
    assert desk.n_asked == 3  # there was no third draw
    third = desk.begin()
    assert [desk.ask(third, request(n, **SAME)).value for n in range(3)] == [FIRST, SECOND, THIRD]
    assert desk.n_asked == 3  # what was served is no draw of its own: there are three in all


def test_a_scoring_is_another_asker_than_its_run(log: RunLog) -> None:
    desk = Desk(log, FIRST, SECOND)
    run_id = desk.begin()
    scorings = [log.write(begin_scoring, _scoring(run_id, seed)).result() for seed in (1, 2)]
    for scoring_id in scorings:
        asked = request(5, scoring_id=scoring_id, purpose="detection", **SAME)
        assert desk.ask(run_id, asked).value == FIRST
    assert desk.n_asked == 1


def _scoring(run_id: int, seed: int) -> ScoringIdentity:
    return ScoringIdentity(run_id=run_id, corpus_id=None, judge="fake", settings={"seed": seed}, templates={})


@pytest.mark.parametrize(
    ("changes", "settings", "from_log"),
    [
        ({"prompt": "Other evidence."}, {}, True),
        ({"system": "Read it twice."}, {}, True),
        ({"schema": Check}, {}, True),
        ({}, {"seed": 1}, True),
        ({}, {"answer_tokens": 100}, True),
        ({}, {}, False),
    ],
)
def test_whatever_may_change_the_answer_makes_another_question(
    changes: dict[str, object], settings: dict[str, object], from_log: bool, log: RunLog
) -> None:
    desk = Desk(log, FIRST)
    desk.ask(desk.begin(), request(5, **SAME))
    desk.ask(desk.begin(), request(5, **SAME | changes), from_log, **settings)
    assert desk.n_asked == 2


def test_another_model_is_asked_itself(log: RunLog) -> None:
    desk = Desk(log, FIRST)
    desk.ask(desk.begin(), request(5, **SAME))
    desk.explainer.model = "another"
    desk.ask(desk.begin(), request(5, **SAME))
    assert desk.n_asked == 2


def test_what_had_no_good_answer_is_asked(log: RunLog) -> None:
    desk = Desk(log)
    desk.explainer.answers = [faulty(CallFault.FINAL, "no"), FIRST]
    desk.ask(desk.begin(), request(5, **SAME))
    assert desk.ask(desk.begin(), request(5, **SAME)).value == FIRST
    assert desk.n_asked == 2


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("batch", [True, False])
def test_a_second_run_asks_nothing_resumes_and_is_replayed(provider: str, batch: bool, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with BatchServer() as server:
        first = run_in_batches(server, provider, path, batch=batch)
        n_served = server.billed.total() + len(server.history)
        second = run_in_batches(server, provider, path, new=True, batch=batch)
        assert server.billed.total() + len(server.history) == n_served == QUESTIONS
        assert [call.cached for call in second.calls] == [True] * QUESTIONS
        assert sum(call.cost_usd or 0.0 for call in second.calls) == 0.0
        assert [row.label for row in second.labels] == [row.label for row in first.labels]
        third = run_in_batches(server, provider, path, new=True, batch=batch, cache=False)
        assert server.billed.total() + len(server.history) == 2 * QUESTIONS
        assert not any(call.cached for call in third.calls)
        assert run_in_batches(server, provider, path, features=FEATURES, batch=batch).report.n_done_before == len(
            FEATURES
        )
    with RunLog.open(path, read_only=True) as log:
        assert [run.n_labelled for run in log.read(all_runs)] == [len(FEATURES)] * 3
    assert replayed(path, 2) == ["identical"] * len(FEATURES)
