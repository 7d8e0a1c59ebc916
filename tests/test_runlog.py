"""Runs, resuming, and what is read back from a log."""

import dataclasses
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import LogError
from agent.llm.base import AnswerForm, CallFault, Usage
from agent.log.calls import Dispatch, attempts_of, begin_call, calls_of, spent_by
from agent.log.evidence import add_evidence, evidence_of, evidence_rounds, evidence_rows
from agent.log.examples import add_collected, begin_corpus, corpora_of, examples_of, features_collected, note_pass
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs, finish_run, latest_run
from agent.log.scores import add_scores, begin_scoring, latest_scores, scores_of, scorings_of
from agent.schema import Proposal
from probes.evidence import Evidence
from tests.logged import (
    BOUND,
    RULES,
    add_call,
    answer,
    card,
    collected,
    corpus_identity,
    failure,
    grown_tree,
    identity,
    outcome,
    projection,
    request,
    score,
    scoring_identity,
    token_list,
)


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
        assert log.read(latest_run) == run.run_id

    def test_an_unfinished_run_is_resumed_after_reopening(self, path: Path) -> None:
        with RunLog.open(path) as log:
            first = log.begin_run(identity(), range(3))
            log.write(add_label, first.run_id, outcome(1)).result()
            log.write(add_label, first.run_id, outcome(2, status="abstained")).result()
        with RunLog.open(path) as log:
            again = log.begin_run(identity(), range(3))
        assert (again.run_id, again.resumed, again.done) == (first.run_id, True, frozenset({1, 2}))

    def test_a_failed_feature_is_not_done(self, log: RunLog) -> None:
        log.write(add_label, begun(log), outcome(1, status="failed")).result()
        assert log.begin_run(identity(), [1]).done == frozenset()

    def test_a_finished_run_with_nothing_to_do_stays_finished(self, log: RunLog) -> None:
        first = log.begin_run(identity(), [1])
        log.write(add_label, first.run_id, outcome(1)).result()
        log.write(finish_run, first.run_id).result()
        before = log.read(all_runs)
        again = log.begin_run(identity(), [1])
        time.sleep(0.002)
        log.write(finish_run, first.run_id).result()
        assert (again.run_id, again.resumed, again.done) == (first.run_id, True, frozenset({1}))
        assert log.read(all_runs) == before
        assert before[0].status == "finished"

    def test_more_features_extend_a_finished_run(self, log: RunLog) -> None:
        first = log.begin_run(identity(), [0, 1, 2])
        for feature in range(3):
            log.write(add_label, first.run_id, outcome(feature)).result()
        log.write(finish_run, first.run_id).result()
        again = log.begin_run(identity(), [2, 3, 4, 9])
        assert (again.run_id, again.done) == (first.run_id, frozenset({0, 1, 2}))
        (summary,) = log.read(all_runs)
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
        assert log.read(latest_run) == first

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
        assert log.read(all_runs)[0].cost_usd is None
        for feature, status in enumerate(["labelled", "labelled", "abstained", "failed"]):
            log.write(add_label, run_id, outcome(feature, status=status)).result()
        for cost in (0.25, None, 0.5):
            add_call(log, run_id, request(), answer(cost_usd=cost))
        (summary,) = log.read(all_runs)
        assert (summary.n_labelled, summary.n_abstained, summary.n_failed) == (2, 1, 1)
        assert (summary.n_calls, summary.cost_usd) == (3, 0.75)
        assert (summary.subject["name"], summary.settings["rounds"], summary.explainer) == ("tiny", 3, RULES)


class TestLabels:
    def test_a_label_comes_back(self, log: RunLog) -> None:
        run_id = begun(log)
        given = outcome(5, reason="clear")
        log.write(add_label, run_id, given).result()
        (row,) = log.read(labels_of, run_id)
        assert {name: getattr(row, name) for name in given.model_dump()} == given.model_dump()

    def test_a_failed_label_is_replaced_in_place(self, log: RunLog) -> None:
        run_id = begun(log)
        log.write(add_label, run_id, outcome(5, status="failed", label="", confidence=None)).result()
        (before,) = log.read(labels_of, run_id)
        log.write(add_label, run_id, outcome(5, label="cats")).result()
        (after,) = log.read(labels_of, run_id)
        assert (after.label_id, after.status, after.label) == (before.label_id, "labelled", "cats")
        assert [row.feature for row in log.read(labels_of, run_id, search="cats")] == [5]

    @pytest.mark.parametrize("status", ["labelled", "abstained"])
    def test_any_other_label_stands(self, path: Path, status: str) -> None:
        log = RunLog.open(path)
        run_id = begun(log)
        log.write(add_label, run_id, outcome(5, status=status)).result()
        with pytest.raises(LogError, match="UNIQUE constraint failed: labels"):
            log.write(add_label, run_id, outcome(5, label="cats")).result()
        assert [row.label for row in log.read(labels_of, run_id)] == ["dogs"]
        with pytest.raises(LogError, match="earlier fault"):
            log.close()

    def test_conditions_combine(self, log: RunLog) -> None:
        run_id = begun(log)
        for feature in range(6):
            status = "abstained" if feature % 2 else "labelled"
            log.write(
                add_label, run_id, outcome(feature, status=status, label="dogs" if feature < 4 else "cats")
            ).result()
        assert [row.feature for row in log.read(labels_of, run_id, status="abstained")] == [1, 3, 5]
        assert [row.feature for row in log.read(labels_of, run_id, features={4, 5, 99})] == [4, 5]
        assert [row.feature for row in log.read(labels_of, run_id, features=[])] == []
        assert [
            row.feature for row in log.read(labels_of, run_id, search="dogs", status="labelled", features=[2, 3])
        ] == [2]
        assert log.read(labels_of, run_id + 1) == []

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
        log.write(add_label, run_id, outcome(0, label="spaniel", explanation="A dog for hunting.")).result()
        log.write(add_label, run_id, outcome(1, label="=> arrows", explanation="In code.")).result()
        log.write(add_label, run_id, outcome(2, label="Über-words", explanation="German.")).result()
        assert [row.feature for row in log.read(labels_of, run_id, search=search)] == found

    @pytest.mark.parametrize(
        "search", ['"', "NEAR(", "*", "a* OR", "label:dogs", "-", "'; DROP TABLE labels", "\0", "\ud800"]
    )
    def test_a_hostile_search_is_only_words(self, log: RunLog, search: str) -> None:
        run_id = begun(log)
        log.write(add_label, run_id, outcome(0)).result()
        assert log.read(labels_of, run_id, search=search) == []
        assert len(log.read(labels_of, run_id)) == 1

    @given(search=st.text(st.characters(codec=None, categories=None)))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_no_search_is_an_error(self, log: RunLog, search: str) -> None:
        assert log.read(labels_of, 1, search=search) == []


class TestEvidence:
    def test_rounds_come_back_in_order(self, log: RunLog) -> None:
        run_id = begun(log)
        first: list[Evidence] = [token_list(" dog", " cat"), projection(), grown_tree(0)]
        second: list[Evidence] = [token_list(" owl")]
        log.write(add_evidence, evidence_rows(run_id, 5, 1, first)).result()
        log.write(add_evidence, evidence_rows(run_id, 5, 2, second)).result()
        log.write(add_evidence, evidence_rows(run_id, 6, 1, second)).result()
        assert log.read(evidence_of, run_id, 5, 1) == first
        assert log.read(evidence_of, run_id, 5, 3) == []
        assert log.read(evidence_rounds, run_id, 5) == {1: first, 2: second}

    def test_a_round_is_kept_whole_or_not_at_all(self, path: Path) -> None:
        log = RunLog.open(path)
        run_id = begun(log)
        impossible = dataclasses.replace(grown_tree(1), probabilities=(1.0, -1.0))
        with pytest.raises(ValueError, match="math domain error"):
            log.write(add_evidence, evidence_rows(run_id, 5, 1, [token_list(" dog"), impossible]))
        assert log.read(evidence_of, run_id, 5, 1) == []


class TestCalls:
    def test_a_call_comes_back_with_everything(self, log: RunLog) -> None:
        run_id = begun(log)
        asked = request(5, round=2, item=3, system="Be brief.")
        usage = Usage(11, 7, 3, 2)
        told = answer("raw", usage=usage, cost_usd=0.01, duration_ms=12.5, form=AnswerForm.JSON, resolved_model="b")
        add_call(log, run_id, asked, failure())
        add_call(log, run_id, asked, told)
        row = log.read(calls_of, run_id, 5)[1]
        for name in ("feature", "round", "purpose", "item", "system", "prompt", "template", "template_hash"):
            assert getattr(row, name) == getattr(asked, name)
        for name in ("provider", "model", "response", "cost_usd", "duration_ms", "error", "fault", "form"):
            assert getattr(row, name) == getattr(told.exchange, name)
        assert Usage(row.input_tokens, row.output_tokens, row.cache_read_tokens, row.cache_write_tokens) == usage
        assert row.resolved_model == "b"
        assert (Proposal.model_validate(row.answer), row.attempt) == (told.value, 2)

    def test_a_request_of_which_nothing_was_heard_stands_as_lost_at_its_highest_price(self, log: RunLog) -> None:
        run_id = begun(log)
        log.write(begin_call, run_id, request(), Dispatch("openai", "m", AnswerForm.SCHEMA, BOUND)).result()
        (row,) = log.read(attempts_of, run_id, request())
        assert (row.fault, row.answer, row.cost_usd, row.input_tokens) == (CallFault.LOST, None, None, None)
        assert "no answer was received" in (row.error or "")
        spent = log.read(spent_by, run_id)
        assert (spent.calls, spent.tokens, spent.cost_usd) == (1, 0, None)
        assert (spent.most_tokens, spent.most_usd) == (BOUND.tokens, BOUND.cost_usd)

    def test_what_is_spent_adds_known_figures_and_bounds_for_the_unknown(self, log: RunLog) -> None:
        run_id = begun(log)
        add_call(log, run_id, request(1), answer(usage=Usage(100, 20), cost_usd=0.25))
        add_call(log, run_id, request(2), answer())  # a server that tells nothing
        add_call(log, run_id, request(3), failure(status=529))  # turned down: nobody charges for that
        spent = log.read(spent_by, run_id)
        assert (spent.calls, spent.tokens, spent.cost_usd) == (3, 120, 0.25)
        assert spent.most_tokens == 120 + BOUND.tokens
        assert spent.most_usd == pytest.approx(0.25 + 0.05)

    def test_the_attempts_at_a_question_are_those_of_its_key(self, log: RunLog) -> None:
        run_id = begun(log)
        add_call(log, run_id, request(), failure())
        add_call(log, run_id, request(), answer("first"))
        changes = ({"feature": 6}, {"round": 2}, {"purpose": "detect"}, {"item": 1})
        for change in changes:
            add_call(log, run_id, request(**change), answer("other"))
        assert [(call.attempt, call.error) for call in log.read(attempts_of, run_id, request())] == [
            (1, "HTTP 529: overloaded"),
            (2, None),
        ]
        others = [call.response for change in changes for call in log.read(attempts_of, run_id, request(**change))]
        assert others == ["other"] * 4

    def test_a_system_prompt_is_kept_once(self, log: RunLog, path: Path) -> None:
        run_id = begun(log)
        for feature in range(5):
            add_call(log, run_id, request(feature, system="S" * 5000), answer())
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT count(*) FROM texts WHERE kind = 'system'").fetchone() == (1,)
        connection.close()
        assert log.read(calls_of, run_id, 4)[0].system == "S" * 5000

    @pytest.mark.parametrize(
        "text",
        ["\x00\x01\x1b[31m\r\n\x7f\x85", "half an emoji \ud83d", "␛d83d", "\u202eevil\u2028", "{" * 2_000_000],
        ids=["controls", "surrogate", "escape mark", "bidi", "huge"],
    )
    def test_any_text_comes_back(self, log: RunLog, text: str) -> None:
        run_id = begun(log)
        asked = request(prompt=text, system=text)
        add_call(log, run_id, asked, answer(text, error=text, fault=CallFault.FINAL))
        (row,) = log.read(calls_of, run_id, 5)
        assert (row.prompt, row.system, row.response, row.error) == (text,) * 4

    def test_a_label_with_control_characters_comes_back(self, log: RunLog) -> None:
        run_id = begun(log)
        nasty = Proposal(action="label", label="a\0b\x1b[31m␛", explanation="\u202e", confidence=0.5)
        add_call(log, run_id, request(), dataclasses.replace(answer(), value=nasty))
        log.write(add_label, run_id, outcome(5, label=nasty.label)).result()
        assert Proposal.model_validate(log.read(calls_of, run_id, 5)[0].answer) == nasty
        assert log.read(labels_of, run_id)[0].label == nasty.label


class TestTables:
    def test_foreign_keys_are_on(self, path: Path) -> None:
        log = RunLog.open(path)
        with pytest.raises(LogError, match="FOREIGN KEY constraint failed"):
            log.write(add_label, 99, outcome()).result()
        with pytest.raises(LogError):
            log.close()

    def test_the_columns_that_others_rely_on_are_there(self, path: Path) -> None:
        RunLog.open(path).close()
        promised = {
            "labels": {"run_id", "feature", "label", "explanation", "confidence", "status"},
            "scores": {"label_id", "scorer", "variant", "value", "reason", "low", "high", "n"},
            "calls": {"run_id", "feature", "purpose", "provider", "model", "prompt", "response", "input_tokens"}
            | {"output_tokens", "cost_usd", "duration_ms", "error"},
            "runs": {"id"},
            "evidence": {"run_id"},
            "examples": {"corpus_id", "feature", "split", "kind"},
            "reviews": {"label_id"},
        }
        connection = sqlite3.connect(path)
        for table, columns in promised.items():
            assert columns <= {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}, table
        connection.close()

    def test_a_score_needs_a_value_or_a_reason(self, log: RunLog, path: Path) -> None:
        scoring_id, label_id = scoring(log)
        log.write(add_scores, scoring_id, [score(label_id, value=None, reason="never activated")]).result()
        with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            db.execute("UPDATE scores SET reason = NULL")


def scoring(log: RunLog) -> tuple[int, int]:
    """A scoring of a run with one label, and that label."""
    run_id = begun(log)
    log.write(add_label, run_id, outcome(5)).result()
    identity = scoring_identity(run_id, log.write(begin_corpus, corpus_identity()).result())
    assert log.write(begin_scoring, identity).result() == log.write(begin_scoring, identity).result()
    return log.write(begin_scoring, identity).result(), log.read(labels_of, run_id)[0].label_id


class TestScores:
    def test_scores_come_back_and_take_the_place_of_earlier_ones_of_the_same_variant(self, log: RunLog) -> None:
        scoring_id, label_id = scoring(log)
        parts = [score(label_id, value=None, reason="no answer"), score(label_id, part="new_words")]
        control = score(label_id, variant="shuffled")
        log.write(add_scores, scoring_id, [*parts, control]).result()
        good = score(label_id, value=0.75, low=0.6, high=0.9, n=20, extra={"f1": 0.7}, items=[{"key": "a"}])
        log.write(add_scores, scoring_id, [good]).result()
        assert log.read(scores_of, scoring_id) == [control, good]
        assert [row.scoring_id for row in log.read(scorings_of, 1)] == [scoring_id]
        log.write(
            begin_scoring, scoring_identity(1, 1).model_copy(update={"judge": "one that scored nothing"})
        ).result()
        (latest, scores) = log.read(latest_scores, 1, label_id) or (None, [])
        assert (latest and latest.scoring_id, scores) == (scoring_id, [control, good])

    def test_calls_of_a_scoring_have_keys_and_costs_of_their_own(self, log: RunLog) -> None:
        run_id = begun(log)
        scoring_id = log.write(
            begin_scoring, scoring_identity(run_id, log.write(begin_corpus, corpus_identity()).result())
        ).result()
        add_call(log, run_id, request(), answer("loop", cost_usd=1.0))
        add_call(log, run_id, request(scoring_id=scoring_id), answer("judge", cost_usd=2.0))
        assert [call.response for call in log.read(attempts_of, run_id, request())] == ["loop"]
        assert [call.attempt for call in log.read(attempts_of, run_id, request(scoring_id=scoring_id))] == [1]
        assert (log.read(spent_by, run_id).cost_usd, log.read(spent_by, run_id, scoring_id).cost_usd) == (1.0, 2.0)


class TestExamples:
    def test_what_was_collected_comes_back_on_the_side_of_its_document(self, log: RunLog) -> None:
        corpus_id = log.write(begin_corpus, corpus_identity()).result()
        found = collected(3)
        log.write(add_collected, corpus_id, found, {"d0": "shown", "d1": "held_out"}).result()
        back = log.read(examples_of, corpus_id, 3)
        assert back == found
        shown = log.read(examples_of, corpus_id, 3, "shown")
        assert shown is not None
        assert [example.document for example in shown.examples] == ["d0"]
        held_out = log.read(examples_of, corpus_id, 3, "held_out", ["random"])
        assert held_out is not None
        assert held_out.examples == []
        assert log.read(examples_of, corpus_id, 4) is None
        assert log.read(features_collected, corpus_id) == {3}

    def test_collecting_a_feature_again_replaces_its_examples(self, log: RunLog) -> None:
        corpus_id = log.write(begin_corpus, corpus_identity()).result()
        for _ in range(2):
            log.write(add_collected, corpus_id, collected(3), {"d0": "shown", "d1": "held_out"}).result()
        back = log.read(examples_of, corpus_id, 3)
        assert back is not None
        assert len(back.examples) == 2

    def test_a_corpus_is_found_by_its_subject_the_latest_first(self, log: RunLog) -> None:
        first = log.write(begin_corpus, corpus_identity()).result()
        second = log.write(begin_corpus, corpus_identity(source="other.jsonl")).result()
        other = log.write(begin_corpus, corpus_identity(subject=card(fingerprint="e" * 64))).result()
        assert log.write(begin_corpus, corpus_identity()).result() == first
        log.write(note_pass, second, 1000, 5.5, 0.9).result()
        rows = log.read(corpora_of, "f" * 64)
        assert [row.corpus_id for row in rows] == [second, first]
        assert (rows[0].n_tokens, rows[0].l0, rows[0].source) == (1000, 5.5, "other.jsonl")
        assert [row.corpus_id for row in log.read(corpora_of)] == [other, second, first]
