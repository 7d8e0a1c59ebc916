"""`--llm none`, and evidence that the log has already: labelled from, not probed again, and the same as if it were."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import agent.run
from agent.llm.base import Explainer
from agent.llm.none import NoExplainer
from agent.llm.offline import Offline
from agent.log.evidence import evidence_of, has_evidence
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs, chosen_run
from agent.replay import replay
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome
from eval.scoring.shown_examples import CorpusExamples
from probes.evidence import Evidence, ProbeRequest
from probes.probe import run_probes
from probes.subject import Subject
from tests.fakes import SUBJECT, FakeProbes, Notes, config
from tests.fault_runs import Interpret
from tests.test_shards import EVIDENCE, EVIDENCES, LABEL, rows_of

FEATURES = range(12)


def run(path: Path, explainer: Explainer, features: Sequence[int] = FEATURES, new: bool = False, **changes: Any):
    with RunLog.open(path) as log:
        return asyncio.run(run_features(RunSpec(config(**changes), SUBJECT, explainer), log, features, new, Notes()))


def of_run(path: Path, table: str, columns: Sequence[str], run_id: int) -> list[tuple[Any, ...]]:
    return [row[1:] for row in rows_of(path, table, ("run_id", *columns)) if row[0] == run_id]


class TestProbeOnly:
    def test_evidence_is_kept_and_nothing_is_asked(self, tmp_path: Path, probes: FakeProbes) -> None:
        report = run(tmp_path / "log.db", NoExplainer())
        assert report.outcomes == {"probed": 12}
        with RunLog.open(tmp_path / "log.db") as log:
            [summary] = log.read(all_runs)
            assert (summary.status, summary.explainer, summary.n_probed, summary.n_calls) == ("finished", "none", 12, 0)
            assert log.read(labels_of, 1) == []
            assert all(len(log.read(evidence_of, 1, feature, 1)) == 3 for feature in FEATURES)
        assert sorted(probes.probed()) == sorted([*FEATURES] * 3)

    def test_a_run_that_was_cut_off_probes_nothing_twice(self, tmp_path: Path, probes: FakeProbes) -> None:
        told: list[int] = []

        async def cut_off(log: RunLog) -> None:
            def tell(outcome: Outcome) -> None:
                told.append(outcome.feature)
                if len(told) == 5:
                    task.cancel()

            notes = Notes(on_told=tell)
            task = asyncio.create_task(
                run_features(RunSpec(config(), SUBJECT, NoExplainer()), log, FEATURES, False, notes)
            )
            await asyncio.gather(task, return_exceptions=True)

        with RunLog.open(tmp_path / "log.db") as log:
            asyncio.run(cut_off(log))
            kept = {feature for feature in FEATURES if log.read(has_evidence, 1, feature, 1)}
        assert 5 <= len(kept) < 12
        probes.batches.clear()
        report = run(tmp_path / "log.db", NoExplainer())
        assert (report.run_id, report.n_done_before) == (1, len(kept))
        assert {*probes.probed()} == {*FEATURES} - kept
        assert run(tmp_path / "log.db", NoExplainer()).outcomes == {}

    def test_what_failed_says_why_and_is_forgotten_once_it_succeeds(self, tmp_path: Path, probes: FakeProbes) -> None:
        probes.faulty = frozenset({3})
        assert run(tmp_path / "log.db", NoExplainer()).outcomes == {"probed": 11, "failed": 1}
        assert [row[:2] for row in rows_of(tmp_path / "log.db", "labels", LABEL)] == [(3, "failed")]
        probes.faulty = frozenset()
        assert run(tmp_path / "log.db", NoExplainer()).outcomes == {"probed": 1}
        assert rows_of(tmp_path / "log.db", "labels", LABEL) == []

    def test_overlapping_parts_are_one_run(self, tmp_path: Path, probes: FakeProbes) -> None:  # noqa: ARG002
        run(tmp_path / "a.db", NoExplainer(), range(8))
        run(tmp_path / "b.db", NoExplainer(), range(5, 12))
        [merged] = RunLog.merge(tmp_path / "a.db", [tmp_path / "b.db"])
        assert merged.joined == {1}
        with RunLog.open(tmp_path / "a.db") as log:
            [summary] = log.read(all_runs)
            assert (summary.features, summary.n_probed, summary.status) == ("0-11", 12, "finished")


class TestKnownEvidence:
    def test_labels_from_a_log_that_was_probed_are_those_of_a_plain_run(
        self, tmp_path: Path, probes: FakeProbes
    ) -> None:
        plain, probed = tmp_path / "plain.db", tmp_path / "probed.db"
        run(plain, Offline())
        run(probed, NoExplainer())
        probes.batches.clear()
        report = run(probed, Offline())
        assert probes.batches == []
        assert (report.run_id, report.n_known) == (2, 36)
        assert of_run(probed, "labels", LABEL, 2) == of_run(plain, "labels", LABEL, 1)
        assert of_run(probed, EVIDENCES, EVIDENCE, 2) == of_run(plain, EVIDENCES, EVIDENCE, 1)
        with RunLog.open(probed) as log:
            assert log.read(chosen_run, None).run_id == 2
            again = asyncio.run(replay(log, log.read(chosen_run, 2), CorpusExamples))
        assert {item.verdict for item in again} == {"identical"}

    def test_shards_that_were_probed_apart_are_labelled_by_one_process(
        self, tmp_path: Path, probes: FakeProbes
    ) -> None:
        run(tmp_path / "0.db", NoExplainer(), FEATURES[::2])
        run(tmp_path / "1.db", NoExplainer(), FEATURES[1::2])
        run(tmp_path / "plain.db", Offline())
        RunLog.merge(tmp_path / "all.db", [tmp_path / "0.db", tmp_path / "1.db"])
        probes.batches.clear()
        run(tmp_path / "all.db", Offline())
        assert probes.batches == []
        assert of_run(tmp_path / "all.db", "labels", LABEL, 2) == of_run(tmp_path / "plain.db", "labels", LABEL, 1)

    def test_what_hangs_on_other_settings_is_probed(self, tmp_path: Path, probes: FakeProbes) -> None:
        run(tmp_path / "log.db", NoExplainer(), weights_plan=("vocabulary", "encoder"))
        probes.batches.clear()
        run(tmp_path / "log.db", Offline(), weights_plan=("encoder",), rounds=1)
        assert probes.batches == []
        deeper = run(tmp_path / "log.db", Offline(), probe={"tree": {"cutoff": 0.0001}}, rounds=1)
        assert {request.kind for batch in probes.batches for request in batch} == {"tree"}
        assert deeper.n_known == 2 * len(FEATURES)

    def test_a_new_run_takes_what_the_first_one_has_probed(self, tmp_path: Path, probes: FakeProbes) -> None:
        run(tmp_path / "log.db", Offline())
        probes.batches.clear()
        assert run(tmp_path / "log.db", Offline(), new=True).run_id == 2
        assert probes.batches == []

    def test_evidence_of_another_subject_is_not_taken(
        self, tmp_path: Path, probes: FakeProbes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run(tmp_path / "log.db", NoExplainer())
        probes.batches.clear()
        monkeypatch.setattr(SUBJECT, "card", SUBJECT.card.model_copy(update={"dtype": "bfloat16"}))
        assert run(tmp_path / "log.db", Offline(), rounds=1).n_known == 0
        assert {*probes.probed()} == {*FEATURES}

    def test_what_a_sweep_chose_is_taken_as_such_and_not_as_the_same_vector_by_itself(
        self, tmp_path: Path, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[ProbeRequest] = []

        def counting(of: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
            asked.extend(requests)
            return run_probes(of, requests)

        monkeypatch.setattr(agent.run, "run_probes", counting)

        def label(explainer: Explainer, scale: float | str) -> RunReport:
            probe = {"tree": {"cutoff": 0.05, "max_depth": 3}, "vector": {"scale": scale}}
            asked.clear()
            one = config(probe=probe, rounds=1, weights_plan=("encoder",))
            with RunLog.open(tmp_path / "log.db") as log:
                return asyncio.run(run_features(RunSpec(one, subject, explainer), log, [2], False, Notes()))

        label(NoExplainer(), "auto")
        report = label(Offline(), "auto")
        assert (asked, report.n_known) == ([], 4)
        with RunLog.open(tmp_path / "log.db") as log:
            assert log.read(evidence_of, report.run_id, 2, 1) == log.read(evidence_of, 1, 2, 1)
            chosen = log.read(evidence_of, 1, 2, 1)[1].settings.vector.scale
        assert isinstance(chosen, float)
        label(Offline(), chosen)
        assert "tree" in {request.kind for request in asked}
        assert "tokens" not in {request.kind for request in asked}


class TestCommands:
    SMALL = ("--features", "0-5", "--cutoff", "0.05", "--max-depth", "4", "--rounds", "1")

    def test_probed_then_labelled(self, interpret: Interpret, tiny: list[str]) -> None:
        probed = interpret(*self.SMALL, *tiny, "--llm", "none")
        assert probed.status == 0, probed.err
        assert "6 features probed, 0 failed" in probed.out
        assert "The evidence of 6 is in interpret.db" in probed.out
        assert "Run 1 had no explainer, so no label: the evidence of 6 features" in interpret("log", "1").out
        assert "nothing left to do: all 6 features are done" in interpret(*self.SMALL, *tiny, "--llm", "none").out
        labelled = interpret(*self.SMALL, *tiny)
        assert ", 18 pieces of evidence taken from other runs." in " ".join(labelled.out.split())
        runs = interpret("log").out.splitlines()
        assert runs[0].endswith("probed only") or "probed only" in runs[0]
        assert runs[1].split()[-1] == "6"

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--features", "0", "--llm", "none:big"), "neither a model nor a base URL"),
            (("compare", "--features", "0", "--llm", "none"), "there are no labels to compare"),
            (("--features", "0", "--llm", "none", "--evidence", "examples"), "reads no examples"),
        ],
    )
    def test_what_nobody_can_do_is_refused(
        self, interpret: Interpret, tiny: list[str], arguments: tuple[str, ...], words: str
    ) -> None:
        ran = interpret(*arguments, *tiny)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert words in ran.err


def test_nobody_tests_anything_so_that_is_no_setting_of_such_a_run() -> None:
    runs = [RunSpec(config(llm="none", tests=tests), SUBJECT, NoExplainer()).identity for tests in (None, True, False)]
    assert runs[0] == runs[1] == runs[2]
