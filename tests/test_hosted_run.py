"""Whole runs with the real SDKs against the loopback server: whatever it does, every feature ends with a reason."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from agent.llm.base import CallFault
from agent.log.calls import CallRow
from tests.fault_cases import CASES, FEATURES, PROVIDERS, QUESTIONS, Case, each
from tests.fault_runs import Visit, Worked, work
from tests.llm_script import Asked, Reply, Served

MOST_READ = 4_000_000
NOT_SENT = "no connection"


@pytest.fixture(params=[pytest.param(one, id=f"{one[0].name}, {one[1]}") for one in each()], scope="module")
def worked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Worked]:
    """A case, and what came of it."""
    case, provider = request.param
    return case, work(case, provider, tmp_path_factory.mktemp("case") / "log.db")


def test_every_feature_ends_labelled_or_failed_with_a_reason_or_the_run_says_why_it_stopped(
    worked: tuple[Case, Worked],
) -> None:
    case, visit = worked[0], worked[1].struck
    ends = {row.feature: row for row in visit.labels}
    failed = {feature for feature, row in ends.items() if row.status == "failed"}
    assert all(row.reason.strip() for row in ends.values() if row.status == "failed")
    assert all(row.label for row in ends.values() if row.status == "labelled")
    assert all(case.error in ends[feature].reason for feature in case.failed)
    if not case.stops:
        assert visit.report.stopped is None
        assert (set(ends), failed) == (set(FEATURES), case.failed)
        return
    sentence = str(visit.report.stopped)
    assert case.stops in sentence
    assert "the same command" in sentence.lower()
    assert "\n" not in sentence
    assert set(ends) < set(FEATURES) or failed


def test_every_attempt_is_a_row_that_says_what_went_wrong(worked: tuple[Case, Worked]) -> None:
    case, visit = worked[0], worked[1].struck
    assert case.requests in (None, len(visit.dealt))
    assert [CallFault.LOST for call in visit.calls if call.fault is CallFault.LOST] == []
    for call, _ in _pairs(visit):
        assert (call.answer is None) == (call.fault is not None) == (call.error is not None)
        assert call.error is None or (call.error.strip() and "\n" not in call.error)
        assert call.duration_ms is not None
    wrong = [call for call in visit.calls if call.fault is not None]
    assert {call.fault for call in wrong} == ({case.fault} if case.fault else set())
    assert all(case.error in (call.error or "") for call in wrong)


def test_the_rows_tell_what_the_server_told_and_nothing_else(worked: tuple[Case, Worked]) -> None:
    for visit in (worked[1].struck, worked[1].well):
        for call, dealt in _pairs(visit):
            if dealt is None:
                continue  # of the invocation before, or it was never sent
            told = (call.input_tokens, call.output_tokens, call.cache_read_tokens, call.cache_write_tokens)
            assert told == _told(*dealt)
            assert call.cost_usd is None  # nobody knows what this server takes; it is not nothing
            assert call.form is dealt[0].form


def test_the_same_command_goes_on_when_the_server_is_well_and_asks_for_no_answer_again(
    worked: tuple[Case, Worked],
) -> None:
    case, both = worked
    assert both.well.report.resumed
    assert both.well.report.run_id == both.struck.report.run_id
    assert both.well.report.stopped is None
    assert {row.feature: row.status for row in both.well.labels} == dict.fromkeys(FEATURES, "labelled")
    good = Counter((call.feature, call.round) for call in both.well.calls if call.answer is not None)
    assert set(good.values()) == {1}
    answered = {(call.feature, call.round) for call in both.struck.calls if call.answer is not None}
    assert answered.isdisjoint((asked.feature, asked.round) for asked, *_ in both.well.dealt)
    if not case.failed and not case.stops:
        assert not both.well.dealt
    assert both.verdicts == ["identical"] * len(FEATURES)


def test_what_the_server_knows_is_found_and_kept_to(worked: tuple[Case, Worked]) -> None:
    case, visit = worked[0], worked[1].struck
    if case.form is None:
        return
    later = {asked.form for asked, *_ in visit.dealt if asked.round == 2}
    assert later == {case.form}  # what round 1 has found out is not tried again
    assert {call.form for call in visit.calls if call.fault is None} == {case.form}


def _pairs(visit: Visit) -> Iterator[tuple[CallRow, tuple[Asked, Reply, Served | None] | None]]:
    """Each row with the request that it is about; of the rows of one question the last are this invocation's."""
    dealt = defaultdict(list)
    for one in visit.dealt:
        dealt[one[0].feature, one[0].round].append(one)
    rows = defaultdict(list)
    for call in visit.calls:
        if not (call.error or "").startswith(NOT_SENT):
            rows[call.feature, call.round].append(call)
    assert dealt.keys() <= rows.keys()
    for question, calls in rows.items():
        mine = len(dealt[question])
        assert mine <= len(calls)
        yield from ((call, None) for call in calls[: len(calls) - mine])
        yield from zip(calls[len(calls) - mine :], dealt[question], strict=True)


def _told(_: Asked, reply: Reply, served: Served | None) -> tuple[int | None, ...]:
    """Returns what the server told of tokens, to somebody who was still listening."""
    unread = "Content-Encoding" in reply.headers or len(reply.answer) > MOST_READ
    if served is None or not served.whole or served.status != 200 or reply.body is not None or unread:
        return None, None, None, None
    if not reply.usage:
        return None, None, None, None
    return served.input_tokens, served.output_tokens, reply.cache_read, reply.cache_write


def test_the_number_of_rows_is_that_of_the_requests(worked: tuple[Case, Worked]) -> None:
    case, visit = worked[0], worked[1].struck
    sent = [call for call in visit.calls if not (call.error or "").startswith(NOT_SENT)]
    # a server that leaves breaks connections that it had not looked at yet
    unseen = sum("broke" in (call.error or "") for call in sent) if case.leaves_after else 0
    assert len(visit.dealt) <= len(sent) <= len(visit.dealt) + unseen


def test_the_cases_are_for_both_providers_and_all_faults() -> None:
    assert {provider for case in CASES for provider in case.providers} == set(PROVIDERS)
    assert {case.fault for case in CASES} == {None, *CallFault} - {CallFault.LOST, CallFault.WAITING}
    assert len({(case.name, case.providers) for case in CASES}) == len(CASES)
    assert sum(1 + feature % 2 for feature in FEATURES) == QUESTIONS
