"""A run over many features, with fake probes on a real log."""

import asyncio
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest

import agent.loop
import agent.run
from agent.errors import ExplainerError, LogError
from agent.llm.base import Answer, AnswerForm, CallFault, Explainer, Request
from agent.llm.offline import Offline
from agent.log.calls import calls_of
from agent.log.evidence import evidence_of, evidence_rounds
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome, Proposal
from probes.evidence import Evidence, ProbeRequest
from tests.fakes import GENERIC, SUBJECT, FakeExplainer, FakeProbes, Notes, config, faulty
from tests.subjects import tiny_subject

LABEL = Proposal(action="label", label="dog", confidence=0.8)


def run(log: RunLog, features: range, explainer: Explainer | None = None, new: bool = False, **changes) -> RunReport:
    notes = Notes()
    coroutine = run_features(RunSpec(config(**changes), SUBJECT, explainer or Offline()), log, features, new, notes)
    report = asyncio.run(coroutine)
    told = notes.outcomes
    assert sum(report.outcomes.values()) == len(told) == len({outcome.feature for outcome in told})
    return report


def test_every_feature_ends_with_a_label_or_a_reason(log: RunLog, probes: FakeProbes) -> None:
    probes.faulty, probes.unclear = frozenset({5}), frozenset({3})
    probes.definitions = {3: dict.fromkeys(("words", "vocabulary", "encoder", "decoder", "blend:0.5"), GENERIC)}
    report = run(log, range(10))
    assert report.outcomes == {"labelled": 8, "abstained": 1, "failed": 1}
    rows = {row.feature: row for row in log.read(labels_of, report.run_id)}
    assert [*rows] == [*range(10)]
    assert rows[0].label == "dog"
    assert (rows[3].status, rows[5].status, rows[5].reason) == ("abstained", "failed", "Feature 5 is all zeros.")
    assert all(row.label or row.reason for row in rows.values())
    assert len(log.read(calls_of, report.run_id, 3)) == 3
    assert [summary.status for summary in log.read(all_runs)] == ["finished"]


def test_whole_waves_of_features_share_a_batch(log: RunLog, probes: FakeProbes) -> None:
    run(log, range(64), concurrency=64)
    assert [len(batch) for batch in probes.batches] == [64 * 3]


def test_the_same_run_again_does_nothing_and_more_features_extend_it(log: RunLog, probes: FakeProbes) -> None:
    first = run(log, range(5))
    probed = len(probes.probed())
    again = run(log, range(5))
    assert (again.run_id, again.resumed, again.n_done_before, again.outcomes) == (first.run_id, True, 5, {})
    assert len(probes.probed()) == probed
    more = run(log, range(8))
    assert (more.run_id, more.n_done_before, more.outcomes) == (first.run_id, 5, {"labelled": 3})
    assert {*probes.probed()[probed:]} == {5, 6, 7}


@pytest.mark.usefixtures("probes")
def test_failed_features_are_tried_again_in_place(log: RunLog) -> None:
    first = run(log, range(4), FakeExplainer([LABEL, None, None, LABEL]), concurrency=1)
    assert first.outcomes == {"labelled": 3, "failed": 1}
    second = run(log, range(4), FakeExplainer([LABEL]), concurrency=1)
    assert (second.run_id, second.outcomes) == (first.run_id, {"labelled": 1})
    assert [row.status for row in log.read(labels_of, first.run_id)] == ["labelled"] * 4


@pytest.mark.usefixtures("probes")
def test_new_and_other_settings_are_other_runs(log: RunLog) -> None:
    ids = [
        run(log, range(2)).run_id,
        run(log, range(2), new=True).run_id,
        run(log, range(2), rounds=2).run_id,
        run(log, range(2), probe={"vector": {"scale": 1.0}}).run_id,
        run(log, range(2), FakeExplainer([LABEL])).run_id,
    ]
    assert len(set(ids)) == 5


@pytest.mark.usefixtures("probes")
def test_a_scale_equal_to_the_default_is_the_same_run(log: RunLog) -> None:
    first = run(log, range(2))
    second = run(log, range(2), probe={"vector": {"scale": SUBJECT.card.default_scale}}, concurrency=1)
    assert (second.run_id, second.resumed) == (first.run_id, True)


def test_at_most_concurrency_features_are_under_way(log: RunLog, probes: FakeProbes) -> None:
    class Counting(FakeExplainer):
        now = most = 0
        six = asyncio.Event()

        async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
            self.now += 1
            self.most = max(self.most, self.now)
            if self.now == 6:
                self.six.set()
            await asyncio.wait_for(self.six.wait(), 60)  # the first answers, until six are under way
            await asyncio.sleep(0.002)
            self.now -= 1
            return await super().answer(request, form)

    explainer = Counting([LABEL])
    run(log, range(40), explainer, concurrency=6)
    assert explainer.most == 6
    assert {len({request.feature for request in batch}) for batch in probes.batches} <= set(range(1, 7))


@pytest.mark.usefixtures("probes")
def test_a_cancelled_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    told: list[int] = []

    async def interrupted(log: RunLog) -> None:
        def tell(outcome: Outcome) -> None:
            told.append(outcome.feature)
            if len(told) == 7:
                task.cancel()

        coroutine = run_features(RunSpec(config(), SUBJECT, Offline()), log, range(30), False, Notes(on_told=tell))
        task = asyncio.create_task(coroutine)
        await task

    with RunLog.open(tmp_path / "cut.db") as log, pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted(log))
    with RunLog.open(tmp_path / "cut.db") as log:
        logged = {row.feature for row in log.read(labels_of, 1)}
        assert set(told) <= logged < set(range(30))
        report = run(log, range(30))
        assert (report.resumed, report.n_done_before) == (True, len(logged))
        assert report.outcomes == {"labelled": 30 - len(logged)}
        calls = [call for feature in range(30) for call in log.read(calls_of, report.run_id, feature)]
        assert sum(call.answer is not None for call in calls) == 30  # none that had arrived was asked for again


@pytest.mark.usefixtures("probes")
def test_a_fault_of_the_log_ends_the_run_with_its_own_sentence(log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LogError("The disk is full.")

    monkeypatch.setattr(agent.loop, "add_evidence", broken)
    report = run(log, range(10))
    assert isinstance(report.stopped, LogError)
    assert "The disk is full" in str(report.stopped)
    assert log.read(labels_of, 1) == []
    assert [summary.status for summary in log.read(all_runs)] == ["unfinished"]


@pytest.mark.usefixtures("probes")
def test_an_explainer_that_cannot_be_used_ends_the_run(log: RunLog) -> None:
    class Locked(FakeExplainer):
        async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
            self.asked_in.append(form)
            self.requests.append(request)
            return Answer(None, faulty(CallFault.FATAL, "The key was refused."))

    report = run(log, range(10), locked := Locked([]))
    assert isinstance(report.stopped, ExplainerError)
    assert "The key was refused" in str(report.stopped)
    assert len(locked.requests) <= 4  # those that were in flight together; nobody else is sent after them
    assert locked.closed
    assert len(log.read(evidence_of, 1, 0, 1)) == 3  # what was probed is kept
    assert [summary.status for summary in log.read(all_runs)] == ["unfinished"]


def test_memory_does_not_grow_with_the_number_of_features(log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    born: list[weakref.ref[Evidence]] = []
    alive: list[int] = []

    def probing(subject: object, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        evidence = FakeProbes()(subject, requests)
        born.extend(map(weakref.ref, evidence))
        return evidence

    def count(_outcome: Outcome) -> None:
        alive.append(sum(ref() is not None for ref in born))

    monkeypatch.setattr(agent.run, "run_probes", probing)
    asyncio.run(
        run_features(RunSpec(config(concurrency=4), SUBJECT, Offline()), log, range(200), False, Notes(on_told=count))
    )
    assert len(born) == 200 * 3
    assert max(alive) < 0.2 * len(born)  # 12 pieces are in use at once; some wait for the collector of cycles


def test_the_real_probes_and_the_real_log_work_together(log: RunLog, tmp_path: Path) -> None:
    subject = tiny_subject(tmp_path)
    quick = config(probe={"tree": {"cutoff": 0.01, "max_depth": 6}}, concurrency=8)
    report = asyncio.run(run_features(RunSpec(quick, subject, Offline()), log, range(12), False, Notes()))
    assert sum(report.outcomes.values()) == 12
    assert "failed" not in report.outcomes
    for row in log.read(labels_of, report.run_id):
        rounds = log.read(evidence_rounds, report.run_id, row.feature)
        assert [type(item).__name__ for item in rounds[1]] == ["Tree", "TokenList", "Projection"]
        assert len(log.read(calls_of, report.run_id, row.feature)) == row.rounds
    again = asyncio.run(run_features(RunSpec(quick, subject, Offline()), log, range(12), False, Notes()))
    assert (again.resumed, again.n_done_before, again.outcomes) == (True, 12, {})
