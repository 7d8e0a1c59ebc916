"""Questions in batches: half price, nothing lost and nothing paid twice, whatever goes wrong at the provider."""

import json
import os
import signal
import sqlite3
from collections import Counter
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest

from agent.errors import BatchWaitError, ExplainerError, InterruptError
from agent.llm.anthropic_batches import AnthropicBatches
from agent.llm.base import AnswerForm, CallFault, Exchange, Usage
from agent.llm.batching import BatchLimits
from agent.llm.models import DEFAULTS
from agent.llm.openai_batches import OpenAIBatches
from agent.llm.prices import cost_usd
from agent.log.calls import spent_by
from agent.log.run_log import RunLog
from agent.schema import Proposal
from tests.batch_runs import FEATURES, QUESTIONS, Ran, run_in_batches
from tests.batch_server import BatchFaults, BatchServer
from tests.fault_cases import PROVIDERS
from tests.fault_runs import replayed
from tests.llm_script import Asked, Reply, labelling

LABELLED = dict.fromkeys(FEATURES, "labelled")

both = pytest.mark.parametrize("provider", PROVIDERS)
by_id = attrgetter("call_id")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def check_whole(server: BatchServer, ran: Ran, provider: str) -> None:
    """Every feature labelled, every answer paid for once and at half price, nothing open."""
    assert ran.report.stopped is None
    assert ran.ends == LABELLED
    assert (server.billed.total(), {*server.billed.values()}) == (QUESTIONS, {1})
    answered = [call for call in ran.calls if call.answer is not None]
    assert len(answered) == QUESTIONS
    assert [sum(call.input_tokens or 0 for call in ran.calls), sum(call.output_tokens or 0 for call in ran.calls)] == (
        server.billed_tokens
    )
    for call in answered:
        usage = Usage(call.input_tokens, call.output_tokens, 0, 0)
        assert call.cost_usd == pytest.approx((cost_usd(provider, "", DEFAULTS[provider], usage) or 0) / 2, rel=1e-12)
    assert {call.fault for call in ran.calls} <= {None, CallFault.TRANSIENT, CallFault.FORM}
    assert all(call.reserved_tokens == 0 for call in ran.calls if call.fault is not None)
    assert {row.status for row in ran.batches} <= {"ended", "unmade"}


@both
def test_a_round_of_all_features_is_a_batch_at_half_price(provider: str, path: Path) -> None:
    with BatchServer() as server:
        ran = run_in_batches(server, provider, path)
        check_whole(server, ran, provider)
        assert [len(made.requests) for made in server.batches] == [6, 3]
        assert server.history == []  # nothing was asked one by one
    assert [(row.status, row.n_calls, row.n_answered, row.provider_id) for row in ran.batches] == [
        ("ended", 6, 6, "batch_0"),
        ("ended", 3, 3, "batch_1"),
    ]
    assert {call.round: call.batch_id for call in ran.calls} == {1: 1, 2: 2}
    assert replayed(path) == ["identical"] * 6
    assert [line.split(":")[0] for line in ran.told] == [f"batch {n} {what}" for n in (1, 2) for what in WHAT]


WHAT = ("is sent", "has ended")
ENQUEUED = {"code": "token_limit_exceeded", "line": None, "message": "Enqueued token limit reached for this model."}
WRONG_LINE = {"code": "invalid_json_line", "line": 2, "message": "This line is not parseable."}
CASES = {
    "unknown shortly after it was made": BatchFaults(unseen=3),
    "made without a word": BatchFaults(unheard=frozenset({0})),
    "made without a word, and listed late": BatchFaults(unheard=frozenset({0, 1}), unlisted=3),
    "not made: 500": BatchFaults(failing={0: 500, 1: 503}),
    "not made: 429": BatchFaults(failing={0: 429}),
    "not made: too large": BatchFaults(failing={0: 413}),
    "little room in the queue": BatchFaults(most_queued=2),
    "results break off": BatchFaults(cut=frozenset({0, 2})),
}
REFUSED = {
    "for its queue": BatchFaults(refused={0: [ENQUEUED]}),
    "for a line": BatchFaults(refused={0: [WRONG_LINE]}),
}
"""What OpenAI finds wrong with a batch after it was made."""


@both
@pytest.mark.parametrize("case", CASES)
def test_whatever_goes_wrong_with_batches_all_features_end_labelled(case: str, provider: str, path: Path) -> None:
    with BatchServer(CASES[case]) as server:
        check_whole(server, run_in_batches(server, provider, path), provider)


@pytest.mark.parametrize("case", REFUSED)
def test_a_batch_that_openai_refuses_after_it_was_made_is_made_anew(case: str, path: Path) -> None:
    with BatchServer(REFUSED[case]) as server:
        ran = run_in_batches(server, "openai", path)
        check_whole(server, ran, "openai")
        second_line = server.batches[0].requests[1]["custom_id"]
    assert second_line.endswith("-1")
    sent = sorted((call for call in ran.calls if call.batch_id == 1 and call.fault is not None), key=by_id)
    found = [] if case == "for its queue" else [CallFault.TRANSIENT, CallFault.FORM, *[CallFault.TRANSIENT] * 4]
    assert [call.fault for call in sent] == found


def _at_first(lot: str) -> BatchFaults:
    return BatchFaults(lot=lambda asked: lot if asked.before == 0 and (asked.feature or 0) < 4 else "answered")


@both
@pytest.mark.parametrize("lot", ["expired", "errored"])
def test_lines_that_expired_or_failed_are_asked_again_in_the_next_batch(lot: str, provider: str, path: Path) -> None:
    with BatchServer(_at_first(lot)) as server:
        ran = run_in_batches(server, provider, path)
        check_whole(server, ran, provider)
        assert server.lots == {lot: 6, "answered": QUESTIONS}
    errors = Counter(call.error for call in ran.calls if call.fault is CallFault.TRANSIENT)
    assert errors.total() == 6
    assert all("not answered in its batch: " in error for error in errors)


@both
def test_what_is_wrong_with_a_request_is_met_in_another_form(provider: str, path: Path) -> None:
    faults = BatchFaults(lot=lambda asked: "invalid" if asked.form is AnswerForm.SCHEMA else "answered")
    with BatchServer(faults) as server:
        ran = run_in_batches(server, provider, path)
        check_whole(server, ran, provider)
    assert {call.fault for call in ran.calls if call.form is AnswerForm.SCHEMA} == {CallFault.FORM}


@both
def test_an_answer_that_cannot_be_used_is_asked_for_once_more(provider: str, path: Path) -> None:
    def script(asked: Asked) -> Reply:
        first = asked.feature == 2 and "could not be used" not in asked.user
        return Reply("not \u2028 JSON") if first else labelling(asked)

    with BatchServer(script=script) as server:
        ran = run_in_batches(server, provider, path)
    assert ran.ends == LABELLED
    assert [call.fault for call in ran.calls if call.feature == 2] == [CallFault.UNUSABLE, None]
    assert max(server.billed.values()) == 2  # the other answer was paid for as well


@both
def test_a_refused_key_stops_the_run_with_one_sentence_and_costs_nothing(provider: str, path: Path) -> None:
    with BatchServer(BatchFaults(failing={0: 401})) as server:
        ran = run_in_batches(server, provider, path)
        assert isinstance(ran.report.stopped, ExplainerError)
        assert "HTTP 401" in str(ran.report.stopped)
        assert "Run the same command to continue" in str(ran.report.stopped)
        assert server.batches == []
        assert {call.fault for call in ran.calls} == {CallFault.FATAL}
        again = run_in_batches(server, provider, path)
    assert again.ends == LABELLED
    assert server.billed.total() == QUESTIONS


@both
def test_with_no_wait_it_leaves_at_once_and_the_same_command_goes_on(provider: str, path: Path) -> None:
    with BatchServer(BatchFaults(looks=4)) as server:
        first = run_in_batches(server, provider, path, wait=0)
        assert isinstance(first.report.stopped, BatchWaitError)
        assert "Batch batch_0 is in progress" in str(first.report.stopped)
        assert "the same command continues when it has ended" in str(first.report.stopped)
        assert {call.fault for call in first.calls} == {CallFault.WAITING}
        assert first.ends == {}
        still = run_in_batches(server, provider, path, wait=0)
        assert isinstance(still.report.stopped, BatchWaitError)
        assert len(server.batches) == 1
        ran = run_in_batches(server, provider, path)
        check_whole(server, ran, provider)
        assert ran.report.run_id == first.report.run_id
    assert replayed(path) == ["identical"] * 6


@both
def test_a_batch_is_taken_up_by_a_command_that_asks_one_by_one(provider: str, path: Path) -> None:
    with BatchServer() as server:
        run_in_batches(server, provider, path, wait=0)
        ran = run_in_batches(server, provider, path, batch=False)
        assert ran.ends == LABELLED
        assert [len(made.requests) for made in server.batches] == [6]
        assert sorted((one.asked.feature, one.asked.round) for one in server.history) == [(1, 2), (3, 2), (5, 2)]
    of_batch = {call.batch_id is not None: call.cost_usd for call in ran.calls}
    assert 0 < of_batch[True] < of_batch[False]


@both
def test_answers_come_to_features_that_are_asked_for_later(provider: str, path: Path) -> None:
    with BatchServer() as server:
        run_in_batches(server, provider, path, wait=0)
        some = run_in_batches(server, provider, path, features=[0, 1])
        assert some.ends == {0: "labelled", 1: "labelled"}
        check_whole(server, run_in_batches(server, provider, path), provider)


@pytest.mark.parametrize("status", [429, 529])
def test_a_line_that_found_the_provider_busy_is_no_reason_to_ask_less(status: int) -> None:
    busy = Exchange("a provider", "a model", "", error="busy", fault=CallFault.TRANSIENT, status=status)
    assert (busy.throttled, replace(busy, batch=True).throttled) == (True, False)


@both
def test_batches_hold_no_more_than_was_asked_for(provider: str, path: Path) -> None:
    with BatchServer() as server:
        check_whole(server, run_in_batches(server, provider, path, batch_size=2), provider)
        assert max(len(made.requests) for made in server.batches) == 2


@both
def test_batches_hold_no_more_bytes_than_their_provider_takes(
    provider: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batching = {"anthropic": AnthropicBatches, "openai": OpenAIBatches}[provider]
    with BatchServer() as server:
        run_in_batches(server, provider, path.with_name("whole.db"))
        sizes = [len(json.dumps(line)) for line in server.batches[0].requests]
    monkeypatch.setattr(batching, "limits", BatchLimits(requests=100, bytes=2 * max(sizes) + 100))
    with BatchServer() as server:
        check_whole(server, run_in_batches(server, provider, path), provider)
        assert max(len(made.requests) for made in server.batches) == 2


@both
def test_ctrl_c_leaves_at_once_and_the_same_command_goes_on(provider: str, path: Path) -> None:
    def press(event: str) -> None:
        if event == "looked" and server.batches[0].seen == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with BatchServer(BatchFaults(looks=1000)) as server:
        server.on_event = press
        stopped = run_in_batches(server, provider, path)
        assert isinstance(stopped.report.stopped, InterruptError)
        assert server.batches[0].seen < 20
        server.faults.looks = 2
        server.on_event = lambda _: None
        check_whole(server, run_in_batches(server, provider, path), provider)


@both
def test_ctrl_c_while_a_batch_is_made_that_finds_no_room_ends_the_run(provider: str, path: Path) -> None:
    with BatchServer(BatchFaults(failing={0: 429})) as server:
        server.on_event = lambda event: os.kill(os.getpid(), signal.SIGINT) if event == "asked" else None
        stopped = run_in_batches(server, provider, path)
        assert isinstance(stopped.report.stopped, InterruptError)
        server.on_event = lambda _: None
        check_whole(server, run_in_batches(server, provider, path), provider)


@both
def test_what_waits_for_room_holds_nothing_of_the_budget_once_the_run_is_stopped(provider: str, path: Path) -> None:
    refusals = []

    def press(event: str) -> None:
        refusals.append(event)
        if refusals.count("asked") == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with BatchServer(BatchFaults(failing=dict.fromkeys(range(100), 429))) as server:
        server.on_event = press
        stopped = run_in_batches(server, provider, path)
        assert isinstance(stopped.report.stopped, InterruptError)
        assert [call.reserved_tokens for call in stopped.calls] == [0] * 6
        with RunLog.open(path, read_only=True) as log:
            spent = log.read(spent_by, stopped.report.run_id)
        assert (spent.most_tokens, spent.most_usd) == (0, 0.0)
        server.faults, server.on_event = BatchFaults(), lambda _: None
        check_whole(server, run_in_batches(server, provider, path), provider)


def about(asked: Asked) -> Reply:
    """A label that says which feature was asked about."""
    proposal = Proposal(action="label", label=f"about {asked.feature}", explanation="x", confidence=0.5)
    return Reply(proposal.model_dump_json(exclude_defaults=True))


@both
def test_a_batch_on_its_way_brings_each_feature_its_own_answer_after_its_log_was_imported(
    provider: str, path: Path
) -> None:
    finished, waiting = path.with_name("finished.db"), path.with_name("waiting.db")
    with BatchServer(BatchFaults(looks=2), script=about) as server:
        run_in_batches(server, provider, finished, [0, 1, 2])
        server.faults.looks = 10**6
        run_in_batches(server, provider, waiting, range(3, 9), wait=0)
        server.faults.looks = 2
        RunLog.merge(path, [finished, waiting])
        ran = run_in_batches(server, provider, path, range(9))
    assert {row.feature: row.label for row in ran.labels} == {feature: f"about {feature}" for feature in range(9)}
    assert {*server.billed.values()} == {1}


@both
def test_a_batch_on_its_way_is_found_after_an_import_that_concludes_a_feature_of_it(provider: str, path: Path) -> None:
    other = path.with_name("other.db")
    with BatchServer(BatchFaults(looks=2), script=about) as server:
        run_in_batches(server, provider, other, [3])
        server.faults.looks = 10**6
        run_in_batches(server, provider, path, range(3, 9), wait=0)
        server.faults.looks = 2
        RunLog.merge(path, [other])
        ran = run_in_batches(server, provider, path, range(3, 9))
    assert {row.feature: row.label for row in ran.labels} == {feature: f"about {feature}" for feature in range(3, 9)}
    assert {feature: n for (feature, _), n in server.billed.items()} == {3: 2, **dict.fromkeys(range(4, 9), 1)}


@both
def test_ctrl_c_leaves_a_batch_that_is_taken_up_too(provider: str, path: Path) -> None:
    with BatchServer(BatchFaults(looks=1000)) as server:
        run_in_batches(server, provider, path, wait=0)
        server.on_event = lambda _: os.kill(os.getpid(), signal.SIGINT) if server.batches[0].seen == 4 else None
        assert isinstance(run_in_batches(server, provider, path).report.stopped, InterruptError)
        server.faults.looks = 2
        server.on_event = lambda _: None
        check_whole(server, run_in_batches(server, provider, path), provider)


@both
def test_a_budget_counts_what_is_on_its_way_at_half_price(provider: str, path: Path) -> None:
    with BatchServer() as server:
        alone = run_in_batches(server, provider, path.with_name("alone.db"), batch=False)
        whole = max(call.reserved_usd or 0.0 for call in alone.calls)
        ran = run_in_batches(server, provider, path, budget_usd=1.25 * whole)
    assert 0 < sum(call.cost_usd or 0.0 for call in ran.calls) <= 1.25 * whole
    assert max(call.reserved_usd or 0.0 for call in ran.calls) == pytest.approx(whole / 2)
    assert len(server.batches[0].requests) == 2  # at their most, two in a batch cost what one costs alone
    assert ran.ends == LABELLED


@both
def test_what_a_batch_has_cost_makes_room_in_the_budget_when_it_is_taken_up(provider: str, path: Path) -> None:
    with BatchServer() as server:
        first = run_in_batches(server, provider, path, wait=0)
        bound = max(call.reserved_usd or 0.0 for call in first.calls)
        check_whole(server, run_in_batches(server, provider, path, budget_usd=7 * bound), provider)


@both
def test_a_batch_that_its_provider_does_not_know_stops_the_run_until_its_results_are_gone(
    provider: str, path: Path
) -> None:
    with BatchServer() as server:
        run_in_batches(server, provider, path, wait=0)
        server.batches[0].batch_id = "another"
        _age(path, "2 hours")
        stopped = run_in_batches(server, provider, path).report.stopped
        assert isinstance(stopped, ExplainerError)
        assert "knows no batch batch_0" in str(stopped)
        _age(path, "30 days")
        ran = run_in_batches(server, provider, path)
    assert ran.ends == LABELLED
    lost = [call for call in ran.calls if call.batch_id == 1]
    assert all(call.reserved_tokens > 0 for call in lost)  # they may have been paid for


def _age(path: Path, by: str) -> None:
    with sqlite3.connect(path) as db:
        then = f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-{by}')"
        db.execute(f"UPDATE batches SET created = {then}")
    db.close()
