"""Asking: every attempt a row, no answer paid for twice, each kind of fault met in its own way."""

import asyncio
import os
import signal
import time

import pytest

import agent.run
from agent.calls.asking import Asker, RetryPolicy
from agent.calls.budget import Limits
from agent.errors import BudgetError, ExplainerError, InterruptError
from agent.llm.base import Answer, AnswerForm, Bound, CallFault, Exchange, Request
from agent.log.calls import Dispatch, attempts_of, begin_call, calls_of, end_call
from agent.log.evidence import has_evidence
from agent.log.run_log import RunLog
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from agent.schema import Proposal
from tests.fakes import SUBJECT, FakeExplainer, FakeProbes, Notes, config, faulty, open_door
from tests.logged import BOUND, identity, request

LABEL = Proposal(action="label", label="dog", confidence=0.8)
QUICK = RetryPolicy(attempts=3, first_wait_s=0.001, max_wait_s=0.002, max_unanswered=2, max_unusable=4)
LADDER = (AnswerForm.SCHEMA, AnswerForm.JSON, AnswerForm.TEXT)


class Desk:
    """An asker on a run of its own."""

    def __init__(self, log: RunLog, explainer: FakeExplainer, limits: Limits | None = None) -> None:
        self.log = log
        self.explainer = explainer
        self.run_id = log.begin_run(identity(), [5]).run_id
        self.admission = open_door(4, limits)
        self.asker = Asker(explainer, log, self.run_id, self.admission, QUICK)

    def ask(self, asked: Request) -> Answer:
        return asyncio.run(self.asker.ask(asked))

    def faults(self, asked: Request) -> list[CallFault | None]:
        return [call.fault for call in self.log.read(attempts_of, self.run_id, asked)]


def test_a_fault_that_passes_is_waited_for_and_every_attempt_is_a_row(log: RunLog) -> None:
    busy = faulty(CallFault.TRANSIENT, "overloaded", status=529)
    desk = Desk(log, FakeExplainer([busy, busy, LABEL]))
    assert desk.ask(request()).value == LABEL
    assert desk.faults(request()) == [CallFault.TRANSIENT, CallFault.TRANSIENT, None]
    assert desk.ask(request()).value == LABEL
    assert len(desk.explainer.requests) == 3  # the logged answer was enough


def test_patience_ends_and_questions_that_nobody_answers_stop_the_run(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([faulty(CallFault.TRANSIENT, "HTTP 500")]))
    assert desk.ask(request(1)).exchange.error == "HTTP 500"
    assert desk.faults(request(1)) == [CallFault.TRANSIENT] * 3
    assert desk.admission.reason is None
    desk.ask(request(2))
    assert isinstance(desk.admission.reason, ExplainerError)
    assert "The last 2 questions were not answered" in str(desk.admission.reason)
    assert "(HTTP 500)" in str(desk.admission.reason)


def test_questions_that_are_all_turned_down_stop_the_run_too(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([faulty(CallFault.FINAL, "unknown parameter: effort", status=400)]))
    for feature in (1, 2):
        desk.ask(request(feature))
    assert "(unknown parameter: effort)" in str(desk.admission.reason)
    refusing = Desk(log, FakeExplainer([faulty(CallFault.FINAL, "the model refused", status=200)]))
    for feature in (3, 4, 5):
        refusing.ask(request(feature))
    assert refusing.admission.reason is None  # the server lives, the model does not want to


def test_an_answer_between_them_shows_that_the_server_lives(log: RunLog) -> None:
    down = faulty(CallFault.TRANSIENT)
    desk = Desk(log, FakeExplainer([down, down, down, LABEL, down, down, down]))
    for feature in (1, 2, 3):
        desk.ask(request(feature))
    assert desk.admission.reason is None


def test_a_model_that_never_gives_a_usable_answer_stops_the_run(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([None]))
    for feature in range(QUICK.max_unusable):
        assert desk.admission.reason is None
        desk.ask(request(feature))
    assert f"None of {QUICK.max_unusable} questions got a usable answer (not JSON)" in str(desk.admission.reason)
    able = Desk(log, FakeExplainer([LABEL, None]))
    for feature in range(100, 101 + QUICK.max_unusable):
        able.ask(request(feature))
    assert able.admission.reason is None


def test_an_answer_that_does_not_come_in_time_is_waited_for_once_more_and_longer(log: RunLog) -> None:
    slow = faulty(CallFault.TRANSIENT, "no answer within 9 s", timed_out=True)
    desk = Desk(log, FakeExplainer([slow]))
    desk.ask(request(1))
    assert [asked.timeout_factor for asked in desk.explainer.requests] == [1, QUICK.timeout_growth]
    late = Desk(log, FakeExplainer([slow, LABEL]))
    assert late.ask(request(2)).value == LABEL
    busy = faulty(CallFault.TRANSIENT, "HTTP 500")
    both = Desk(log, FakeExplainer([busy, slow, slow, LABEL]))
    assert both.ask(request(3)).exchange == slow
    assert [asked.timeout_factor for asked in both.explainer.requests] == [1, 1, QUICK.timeout_growth]
    assert both.ask(request(4)).value == LABEL
    assert both.explainer.requests[-1].timeout_factor == 1  # the next question begins anew


def test_the_time_that_a_server_asks_for_is_waited(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([faulty(CallFault.TRANSIENT, status=429, retry_after_s=0.3), LABEL]))
    started = time.monotonic()
    assert desk.ask(request()).value == LABEL
    assert time.monotonic() - started >= 0.29


def test_a_server_that_asks_for_an_hour_stops_the_run(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([faulty(CallFault.TRANSIENT, "HTTP 429", status=429, retry_after_s=3600.0)]))
    with pytest.raises(ExplainerError, match=r"asks for a pause of 3600 s \(HTTP 429\)"):
        desk.ask(request())


def test_a_refused_key_stops_at_once_and_is_a_row(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([faulty(CallFault.FATAL, "The key was refused.", status=401)]))
    with pytest.raises(ExplainerError, match="The key was refused"):
        desk.ask(request())
    assert desk.faults(request()) == [CallFault.FATAL]


def test_a_final_fault_is_neither_waited_for_nor_asked_again(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([faulty(CallFault.FINAL, "the model refused"), LABEL]))
    assert desk.ask(request()).exchange.error == "the model refused"
    assert len(desk.explainer.requests) == 1


def test_an_unusable_answer_is_asked_for_once_more_with_what_was_wrong(log: RunLog) -> None:
    wrong = faulty(CallFault.UNUSABLE, 'label: "</evidence>" is too long')
    desk = Desk(log, FakeExplainer([wrong, LABEL]))
    assert desk.ask(request()).value == LABEL
    first, second = desk.explainer.requests
    assert second.prompt.startswith(first.prompt)
    assert "could not be used" in second.prompt
    assert r"label: \"\u003c/evidence\u003e\" is too long" in second.prompt  # what the error quotes is data
    again = Desk(log, FakeExplainer([wrong, wrong, LABEL]))
    assert again.ask(request(6)).value is None
    assert len(again.explainer.requests) == 2


def test_a_run_cut_off_before_it_asked_again_goes_on_by_asking_again(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([LABEL]))
    sent = log.write(begin_call, desk.run_id, request(), Dispatch("fake", "queue", None, BOUND)).result()
    log.write(end_call, sent, Answer(None, faulty(CallFault.UNUSABLE, "not JSON"))).result()
    desk.ask(request())
    (only,) = desk.explainer.requests
    assert "not JSON" in only.prompt  # the plain question had its answer already


def test_the_forms_are_tried_in_turn_and_what_works_is_remembered(log: RunLog) -> None:
    unknown = faulty(CallFault.FORM, "unknown field response_format", status=400)
    desk = Desk(log, FakeExplainer([unknown, unknown, LABEL], forms=LADDER))
    desk.ask(request(1))
    desk.ask(request(2))
    assert desk.explainer.asked_in == [AnswerForm.SCHEMA, AnswerForm.JSON, AnswerForm.TEXT, AnswerForm.TEXT]
    assert [call.form for call in log.read(calls_of, desk.run_id, 1)] == [*LADDER]


def test_a_question_that_no_form_helps_does_not_take_the_forms_from_the_others(log: RunLog) -> None:
    bad = faulty(CallFault.FORM, "bad request", status=400)
    desk = Desk(log, FakeExplainer([bad, bad, faulty(CallFault.FINAL, "prompt too long"), LABEL], forms=LADDER))
    assert desk.ask(request(1)).exchange.error == "prompt too long"
    desk.ask(request(2))
    assert desk.explainer.asked_in[-1] is AnswerForm.SCHEMA


def test_a_spent_budget_refuses_before_anything_is_sent(log: RunLog) -> None:
    desk = Desk(log, FakeExplainer([LABEL], size=Bound(100)), Limits(tokens=99))
    with pytest.raises(BudgetError):
        desk.ask(request())
    assert desk.explainer.requests == []
    assert desk.faults(request()) == []


class TestRun:
    """The same within a run over many features."""

    @pytest.fixture(autouse=True)
    def probes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(agent.run, "run_probes", FakeProbes())

    @staticmethod
    def run(log: RunLog, explainer: FakeExplainer, notes: Notes | None = None, n: int = 20, **changes) -> RunReport:
        return asyncio.run(
            run_features(RunSpec(config(**changes), SUBJECT, explainer), log, range(n), False, notes or Notes(), QUICK)
        )

    def test_a_budget_holds_over_every_invocation_of_a_run(self, log: RunLog) -> None:
        explainer = FakeExplainer([LABEL], size=Bound(100), forms=LADDER)  # tells no usage: counted at its bound
        first = self.run(log, explainer, budget_tokens=750)
        assert isinstance(first.stopped, BudgetError)
        assert first.outcomes == {"labelled": 7}
        second = self.run(log, explainer, budget_tokens=750)
        assert (second.resumed, second.outcomes) == (True, {})
        third = self.run(log, explainer, budget_tokens=2000)
        assert (third.stopped, third.outcomes) == (None, {"labelled": 13})
        assert len(explainer.requests) == 20

    def test_ctrl_c_finishes_what_is_in_flight_and_starts_nothing_new(self, log: RunLog) -> None:
        class Slow(FakeExplainer):
            async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
                if request.feature == 6:
                    os.kill(os.getpid(), signal.SIGINT)
                await asyncio.sleep(0.02)
                return await super().answer(request, form)

        notes = Notes()
        report = self.run(log, slow := Slow([LABEL], forms=LADDER), notes)
        assert isinstance(report.stopped, InterruptError)
        assert [type(reason) for reason in notes.reasons] == [InterruptError]
        assert 5 <= len(slow.requests) <= 10  # feature 6 is among the four in flight when the key is pressed
        assert report.outcomes == {"labelled": len(slow.requests)}
        assert slow.closed
        rest = self.run(log, again := FakeExplainer([LABEL], forms=LADDER))
        assert rest.stopped is None
        assert len(slow.requests) + len(again.requests) == 20

    def test_ctrl_c_twice_stops_at_once_and_the_calls_stand_as_lost(self, log: RunLog) -> None:
        class Stuck(FakeExplainer):
            async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
                self.requests.append(request)
                if len(self.requests) == 4:
                    for wait_s in (0.01, 0.05):
                        asyncio.get_running_loop().call_later(wait_s, os.kill, os.getpid(), signal.SIGINT)
                await asyncio.sleep(1000)
                return await super().answer(request, form)

        report = self.run(log, stuck := Stuck([LABEL], forms=LADDER))
        assert isinstance(report.stopped, InterruptError)
        assert report.outcomes == {}
        lost = [call for feature in range(20) for call in log.read(calls_of, report.run_id, feature)]
        assert [call.fault for call in lost] == [CallFault.LOST] * len(stuck.requests)

    def test_evidence_is_made_ahead_while_calls_are_in_flight(self, log: RunLog) -> None:
        class Counting(FakeExplainer):
            now = most = 0

            async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
                self.now += 1
                self.most = max(self.most, self.now)
                await asyncio.sleep(0.05)  # longer than features take to be probed, on a busy machine too
                self.now -= 1
                return await super().answer(request, form)

        probed: list[int] = []
        explainer = Counting([LABEL], forms=LADDER)
        notes = Notes(on_told=lambda outcome: probed.append(log.read(has_evidence, 1, outcome.feature + 3, 1)))
        self.run(log, explainer, notes, concurrency=3)
        assert explainer.most == 3
        assert sum(probed[:10]) >= 8  # while feature n is asked about, the features after it are probed


def test_offline_exchanges_cost_nothing() -> None:
    assert Exchange("offline", "rules-1", "").charged
    assert not Exchange("openai", "m", "", status=429).charged
    assert Exchange("openai", "m", "", status=503).throttled
