"""Runs, resuming, and what is read back from a log."""

import dataclasses
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import LogError
from agent.runlog import RunLog
from agent.schema import Proposal
from probes.evidence import Evidence
from tests.logged import answer, card, failure, grown_tree, identity, outcome, projection, request, token_list


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "interpret.db"


@pytest.fixture
def log(path: Path) -> Iterator[RunLog]:
    with RunLog.open(path) as log:
        yield log


def begun(log: RunLog) -> int:
    return log.begin_run(identity(), range(10)).run_id


class TestRuns:
    def test_a_new_run_has_nothing_done(self, log: RunLog) -> None:
        run = log.begin_run(identity(), range(3))
        assert (run.resumed, run.done) == (False, frozenset())
        assert log.latest_run() == run.run_id

    def test_an_unfinished_run_is_resumed_after_reopening(self, path: Path) -> None:
        with RunLog.open(path) as log:
            first = log.begin_run(identity(), range(3))
            log.add_label(first.run_id, outcome(1)).result()
            log.add_label(first.run_id, outcome(2, status="abstained")).result()
        with RunLog.open(path) as log:
            again = log.begin_run(identity(), range(3))
        assert (again.run_id, again.resumed, again.done) == (first.run_id, True, frozenset({1, 2}))

    def test_a_failed_feature_is_not_done(self, log: RunLog) -> None:
        log.add_label(begun(log), outcome(1, status="failed")).result()
        assert log.begin_run(identity(), [1]).done == frozenset()

    def test_a_finished_run_with_nothing_to_do_stays_finished(self, log: RunLog) -> None:
        first = log.begin_run(identity(), [1])
        log.add_label(first.run_id, outcome(1)).result()
        log.finish_run(first.run_id)
        before = log.runs()
        again = log.begin_run(identity(), [1])
        time.sleep(0.002)
        log.finish_run(first.run_id)
        assert (again.run_id, again.resumed, again.done) == (first.run_id, True, frozenset({1}))
        assert log.runs() == before
        assert before[0].status == "finished"

    def test_more_features_extend_a_finished_run(self, log: RunLog) -> None:
        first = log.begin_run(identity(), [0, 1, 2])
        for feature in range(3):
            log.add_label(first.run_id, outcome(feature)).result()
        log.finish_run(first.run_id)
        again = log.begin_run(identity(), [2, 3, 4, 9])
        assert (again.run_id, again.done) == (first.run_id, frozenset({0, 1, 2}))
        (summary,) = log.runs()
        assert (summary.status, summary.finished, summary.features) == ("unfinished", None, "0-4,9")
        assert summary.n_asked == 6

    def test_new_starts_another_run_which_is_then_the_one_resumed(self, log: RunLog) -> None:
        first, second = log.begin_run(identity(), [1]), log.begin_run(identity(), [1], new=True)
        assert (second.run_id > first.run_id, second.resumed) == (True, False)
        assert log.begin_run(identity(), [1]).run_id == second.run_id

    @pytest.mark.parametrize(
        "change",
        [
            {"settings": {"rounds": 2}},
            {"explainer": "other"},
            {"templates": {"explain": "bb22"}},
            {"subject": card(fingerprint="e" * 64)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_whatever_decides_the_outcome_makes_another_run(self, log: RunLog, change: dict[str, object]) -> None:
        assert log.begin_run(identity(), [1]).run_id != log.begin_run(identity(**change), [1]).run_id

    def test_another_device_goes_on_with_the_run(self, log: RunLog) -> None:
        elsewhere = identity(subject=card(device="cuda:1"))
        assert log.begin_run(identity(), [1]).run_id == log.begin_run(elsewhere, [1]).run_id

    def test_the_latest_run_is_the_one_touched_last(self, log: RunLog) -> None:
        first = log.begin_run(identity(), [1]).run_id
        log.begin_run(identity(explainer="other"), [1])
        log.begin_run(identity(), [1])
        assert log.latest_run() == first

    def test_each_invocation_is_kept_with_command_device_and_versions(
        self, log: RunLog, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.argv", ["/usr/bin/interpret", "--features", "0-2", "--api-key", "hunter2"])
        log.begin_run(identity(), range(3))
        log.begin_run(identity(subject=card(device="mps")), [7])
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT command, features, device, versions FROM invocations").fetchall()
        connection.close()
        assert [row[:3] for row in rows] == [
            ("interpret --features 0-2 --api-key ***", "0-2", "cpu"),
            ("interpret --features 0-2 --api-key ***", "7", "mps"),
        ]
        assert '"torch"' in rows[0][3]

    def test_a_summary_counts_outcomes_calls_and_known_costs(self, log: RunLog) -> None:
        run_id = begun(log)
        assert log.runs()[0].cost_usd is None
        for feature, status in enumerate(["labelled", "labelled", "abstained", "failed"]):
            log.add_label(run_id, outcome(feature, status=status)).result()
        for cost in (0.25, None, 0.5):
            log.add_call(run_id, request(), answer(cost_usd=cost), 1).result()
        (summary,) = log.runs()
        assert (summary.n_labelled, summary.n_abstained, summary.n_failed) == (2, 1, 1)
        assert (summary.n_calls, summary.cost_usd) == (3, 0.75)
        assert (summary.subject["name"], summary.settings, summary.explainer) == ("tiny", {"rounds": 3}, "offline")


class TestLabels:
    def test_a_label_comes_back(self, log: RunLog) -> None:
        run_id = begun(log)
        given = outcome(5, reason="clear")
        log.add_label(run_id, given).result()
        (row,) = log.labels(run_id)
        assert {name: getattr(row, name) for name in given.model_dump()} == given.model_dump()

    def test_a_failed_label_is_replaced_in_place(self, log: RunLog) -> None:
        run_id = begun(log)
        log.add_label(run_id, outcome(5, status="failed", label="", confidence=None)).result()
        (before,) = log.labels(run_id)
        log.add_label(run_id, outcome(5, label="cats")).result()
        (after,) = log.labels(run_id)
        assert (after.label_id, after.status, after.label) == (before.label_id, "labelled", "cats")
        assert [row.feature for row in log.labels(run_id, search="cats")] == [5]

    @pytest.mark.parametrize("status", ["labelled", "abstained"])
    def test_any_other_label_stands(self, path: Path, status: str) -> None:
        log = RunLog.open(path)
        run_id = begun(log)
        log.add_label(run_id, outcome(5, status=status)).result()
        with pytest.raises(LogError, match="UNIQUE constraint failed: labels"):
            log.add_label(run_id, outcome(5, label="cats")).result()
        assert [row.label for row in log.labels(run_id)] == ["dogs"]
        with pytest.raises(LogError, match="earlier fault"):
            log.close()

    def test_conditions_combine(self, log: RunLog) -> None:
        run_id = begun(log)
        for feature in range(6):
            status = "abstained" if feature % 2 else "labelled"
            log.add_label(run_id, outcome(feature, status=status, label="dogs" if feature < 4 else "cats")).result()
        assert [row.feature for row in log.labels(run_id, status="abstained")] == [1, 3, 5]
        assert [row.feature for row in log.labels(run_id, features={4, 5, 99})] == [4, 5]
        assert [row.feature for row in log.labels(run_id, features=[])] == []
        assert [row.feature for row in log.labels(run_id, search="dogs", status="labelled", features=[2, 3])] == [2]
        assert log.labels(run_id + 1) == []

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("spaniel", [0]),
            ("SPANIELS", [0]),
            ("span", [0]),
            ("hunting dog", [0]),
            ("dog hunting", [0]),
            ("cat", []),
            ("NOT spaniel", []),
            ("=>", [1]),
            ("  ", [0, 1, 2]),
            ("über", [2]),
        ],
    )
    def test_search(self, log: RunLog, search: str, found: list[int]) -> None:
        run_id = begun(log)
        log.add_label(run_id, outcome(0, label="spaniel", explanation="A dog for hunting.")).result()
        log.add_label(run_id, outcome(1, label="=> arrows", explanation="In code.")).result()
        log.add_label(run_id, outcome(2, label="Über-words", explanation="German.")).result()
        assert [row.feature for row in log.labels(run_id, search=search)] == found

    @pytest.mark.parametrize(
        "search", ['"', "NEAR(", "*", "a* OR", "label:dogs", "-", "'; DROP TABLE labels", "\0", "\ud800"]
    )
    def test_a_hostile_search_is_only_words(self, log: RunLog, search: str) -> None:
        run_id = begun(log)
        log.add_label(run_id, outcome(0)).result()
        assert log.labels(run_id, search=search) == []
        assert len(log.labels(run_id)) == 1

    @given(search=st.text(st.characters(codec=None, categories=None)))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_no_search_is_an_error(self, log: RunLog, search: str) -> None:
        assert log.labels(1, search=search) == []


class TestEvidence:
    def test_rounds_come_back_in_order(self, log: RunLog) -> None:
        run_id = begun(log)
        first: list[Evidence] = [token_list(" dog", " cat"), projection(), grown_tree(0)]
        second: list[Evidence] = [token_list(" owl")]
        log.add_evidence(run_id, 5, 1, first).result()
        log.add_evidence(run_id, 5, 2, second).result()
        log.add_evidence(run_id, 6, 1, second).result()
        assert log.evidence_of(run_id, 5, 1) == first
        assert log.evidence_of(run_id, 5, 3) == []
        assert log.evidence_rounds(run_id, 5) == {1: first, 2: second}

    def test_a_round_is_kept_whole_or_not_at_all(self, path: Path) -> None:
        log = RunLog.open(path)
        run_id = begun(log)
        impossible = dataclasses.replace(grown_tree(1), probabilities=(1.0, -1.0))
        with pytest.raises(LogError, match="math domain error"):
            log.add_evidence(run_id, 5, 1, [token_list(" dog"), impossible]).result()
        assert log.evidence_of(run_id, 5, 1) == []
        with pytest.raises(LogError):
            log.close()


class TestCalls:
    def test_a_call_comes_back_with_everything(self, log: RunLog) -> None:
        run_id = begun(log)
        asked = request(5, round=2, item=3, system="Be brief.")
        told = answer("raw", input_tokens=11, output_tokens=7, cost_usd=0.01, duration_ms=12.5)
        log.add_call(run_id, asked, told, attempt=2).result()
        (row,) = log.calls_of(run_id, 5)
        kept = {name: getattr(row, name) for name in vars(asked) if name != "context"}
        assert kept == {name: value for name, value in vars(asked).items() if name != "context"}
        assert {name: getattr(row, name) for name in vars(told.exchange)} == vars(told.exchange)
        assert (row.proposal, row.attempt) == (told.proposal, 2)

    def test_the_good_answer_of_a_key_is_found_among_failures(self, log: RunLog) -> None:
        run_id = begun(log)
        log.add_call(run_id, request(), failure(), 1).result()
        assert log.answer_of(run_id, 5, 1, "explain", 0) is None
        log.add_call(run_id, request(), answer("first", input_tokens=3), 2).result()
        log.add_call(run_id, request(), answer("second"), 3).result()
        assert log.answer_of(run_id, 5, 1, "explain", 0) == answer("first", input_tokens=3)
        for other in ((6, 1, "explain", 0), (5, 2, "explain", 0), (5, 1, "detect", 0), (5, 1, "explain", 1)):
            assert log.answer_of(run_id, *other) is None
        assert [call.error for call in log.calls_of(run_id, 5)] == ["HTTP 529: overloaded", None, None]

    def test_a_system_prompt_is_kept_once(self, log: RunLog, path: Path) -> None:
        run_id = begun(log)
        for feature in range(5):
            log.add_call(run_id, request(feature, system="S" * 5000), answer(), 1).result()
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT count(*) FROM texts").fetchone() == (1,)
        connection.close()
        assert log.calls_of(run_id, 4)[0].system == "S" * 5000

    @pytest.mark.parametrize(
        "text",
        ["\x00\x01\x1b[31m\r\n\x7f\x85", "half an emoji \ud83d", "␛d83d", "\u202eevil\u2028", "{" * 2_000_000],
        ids=["controls", "surrogate", "escape mark", "bidi", "huge"],
    )
    def test_any_text_comes_back(self, log: RunLog, text: str) -> None:
        run_id = begun(log)
        asked = request(prompt=text, system=text)
        log.add_call(run_id, asked, answer(text, error=text), 1).result()
        (row,) = log.calls_of(run_id, 5)
        assert (row.prompt, row.system, row.response, row.error) == (text,) * 4

    def test_a_label_with_control_characters_comes_back(self, log: RunLog) -> None:
        run_id = begun(log)
        nasty = Proposal(action="label", label="a\0b\x1b[31m␛", explanation="\u202e")
        log.add_call(run_id, request(), dataclasses.replace(answer(), proposal=nasty), 1).result()
        log.add_label(run_id, outcome(5, label=nasty.label)).result()
        assert log.calls_of(run_id, 5)[0].proposal == nasty
        assert log.labels(run_id)[0].label == nasty.label


class TestTables:
    def test_foreign_keys_are_on(self, path: Path) -> None:
        log = RunLog.open(path)
        with pytest.raises(LogError, match="FOREIGN KEY constraint failed"):
            log.add_label(99, outcome()).result()
        with pytest.raises(LogError):
            log.close()

    def test_the_columns_that_others_rely_on_are_there(self, path: Path) -> None:
        RunLog.open(path).close()
        promised = {
            "labels": {"run_id", "feature", "label", "explanation", "confidence", "status"},
            "scores": {"label_id", "scorer", "value", "reason", "low", "high", "n"},
            "calls": {"run_id", "feature", "purpose", "provider", "model", "prompt", "response", "input_tokens"}
            | {"output_tokens", "cost_usd", "duration_ms", "error"},
            "runs": {"id"},
            "evidence": {"run_id"},
            "examples": {"run_id"},
            "reviews": {"label_id"},
        }
        connection = sqlite3.connect(path)
        for table, columns in promised.items():
            assert columns <= {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}, table
        connection.close()

    def test_a_score_without_a_value_needs_a_reason(self, log: RunLog, path: Path) -> None:
        log.add_label(begun(log), outcome()).result()
        connection = sqlite3.connect(path)
        add = "INSERT INTO scores (label_id, scorer, value, reason, n, created) VALUES (1, 'detection', NULL, ?, 0, '')"
        connection.execute(add, ["never fired"])
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(add, [None])
        connection.close()
