"""`interpret import`: nothing lost, nothing doubled, nothing said here overwritten, whatever the other log holds."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from agent.cli.commands.export import ExportRequest, export_run
from agent.errors import LogError
from agent.log.browsing import LabelFilter, count_labels
from agent.log.calls import attempts_of, calls_of
from agent.log.comparisons import (
    ComparisonIdentity,
    add_classes,
    add_recommendation,
    begin_comparison,
    classes_of,
    recommendation_for,
)
from agent.log.evidence import add_evidence, evidence_of, evidence_rows
from agent.log.examples import begin_corpus, corpora_of, examples_of, find_corpus
from agent.log.labels import add_label, labels_elsewhere, labels_of
from agent.log.merging import Merged
from agent.log.reviews import reviews_of, undo_review, verdicts_of
from agent.log.rows import decompressed
from agent.log.run_log import RunLog
from agent.log.runs import all_runs, chosen_run, latest_labelled
from agent.log.schema import references, tables
from agent.log.scores import begin_scoring, find_scoring, scores_of, scorings_of
from probes.settings import ProbeSettings
from tests.fault_runs import Interpret, commands, environment
from tests.full_logs import fill, label, review
from tests.logged import (
    RULES,
    add_call,
    answer,
    corpus_identity,
    failure,
    identity,
    outcome,
    request,
    scoring_identity,
    token_list,
)
from tests.trees import NASTY

OWN = {"id", "run_id", "corpus_id", "scoring_id", "label_id", "system_id", "undoes"}
"""Columns that hold a log's own numbers."""
TIMES = {"created", "started", "finished"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "here.db"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return tmp_path / "there.db"


def merge(target: Path, *others: Path) -> list[Merged]:
    return RunLog.merge(target, others)


def content(path: Path, without: set[str] = frozenset()) -> dict[str, list[Any]]:
    """Every row of every table; without ids in the order of their texts, evidence unpacked, dictionaries left out."""
    with closing(sqlite3.connect(path)) as connection:
        db = Database(connection)
        found = {table: list(db.query(f"SELECT * FROM {table}")) for table in tables()}
    if not without:
        return found
    texts = {row["id"]: row["text"] for row in found["texts"]}
    found["texts"] = [row for row in found["texts"] if row["kind"] in ("system", "settings")]
    for row in found["evidence"]:
        row["settings"] = texts[row.pop("settings_id")]
        row["payload"] = decompressed(row["payload"], texts[row.pop("dictionary_id")])
    kept = {
        table: [{name: cell for name, cell in row.items() if name not in without} for row in rows]
        for table, rows in found.items()
    }
    return {table: sorted(rows, key=repr) for table, rows in kept.items()}


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def counted(path: Path) -> dict[str, int]:
    return {table: len(rows) for table, rows in content(path).items()}


class TestCopies:
    def test_into_an_empty_log_every_row_comes_as_it_was(self, here: Path, there: Path) -> None:
        run_id = fill(there, [3, 5])
        review(there, run_id, 5, "edit", label="hounds")
        [merged] = merge(here, there)
        assert content(here) == content(there)
        assert merged.added["labels"] == 2
        assert (merged.runs, merged.joined, merged.n_same, merged.n_kept) == ({1: 1}, frozenset(), 0, 0)

    def test_a_second_time_there_is_nothing_to_add(self, here: Path, there: Path) -> None:
        review(there, fill(there, [3, 5]), 5, "accept")
        merge(here, there)
        before = content(here)
        [merged] = merge(here, there)
        assert content(here) == before
        assert (merged.added, merged.n_same, merged.joined) == ({}, 2, {1})

    def test_texts_are_kept_to_the_character(self, here: Path, there: Path) -> None:
        nasty = "".join(NASTY) + "␛0000\0\ud83d"
        run_id = fill(there, [3], {3: outcome(3, label=nasty, explanation="x" * 100_000)})
        review(there, run_id, 3, "note", note=nasty.encode("utf-8", "ignore").decode())
        merge(here, there)
        with RunLog.open(here) as log:
            [row] = log.read(labels_of, 1)
            assert (row.label, len(row.explanation)) == (nasty, 100_000)
            assert log.read(reviews_of, [row.label_id])[0].note == nasty.encode("utf-8", "ignore").decode()

    def test_exported_imported_and_exported_again_it_is_the_same(self, tmp_path: Path, here: Path, there: Path) -> None:
        run_id = fill(there, [3, 5], {5: outcome(5, label="\ud83d\0\r\n=1+1")})
        review(there, run_id, 5, "edit", label="hounds", note="</script>")
        files = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
        export_run(there, None, files[0], None, ExportRequest())
        merge(here, there)
        export_run(here, None, files[1], None, ExportRequest())
        assert files[0].read_bytes() == files[1].read_bytes()
        assert files[0].read_bytes().count(b"\n") == 2


class TestParts:
    def test_two_halves_of_a_run_are_the_whole_run(self, tmp_path: Path, here: Path, there: Path) -> None:
        whole = tmp_path / "whole.db"
        fill(whole, range(6))
        fill(here, range(3))
        fill(there, range(3, 6))
        [merged] = merge(here, there)
        unlike = OWN | TIMES | {"command", "features"}
        ours, expected = content(here, unlike), content(whole, unlike)
        ours.pop("invocations"), expected.pop("invocations")
        assert ours == expected
        assert (merged.runs, merged.joined) == ({1: 1}, {1})
        with RunLog.open(here) as log:
            [run] = log.read(all_runs)
            assert (run.features, run.status, run.n_labelled) == ("0-5", "finished", 6)
            assert len(log.read(scores_of, 1)) == 18

    def test_a_part_that_was_cut_off_is_finished_by_the_other(self, here: Path, there: Path) -> None:
        run_id = fill(here, range(3), asked=range(6))
        execute(here, "UPDATE runs SET status = 'unfinished', finished = NULL")
        fill(there, range(3, 6))
        merge(here, there)
        with RunLog.open(here) as log:
            assert log.read(chosen_run, run_id).status == "finished"
            assert log.begin_run(identity(), range(6)).done == frozenset(range(6))

    def test_parts_that_both_lack_features_are_unfinished(self, here: Path, there: Path) -> None:
        fill(here, range(3), asked=range(9))
        execute(here, "UPDATE runs SET status = 'unfinished', finished = NULL")
        fill(there, range(3, 6))
        merge(here, there)
        with RunLog.open(here) as log:
            assert log.read(chosen_run, 1).status == "unfinished"
            assert log.begin_run(identity(), range(9)).done == frozenset(range(6))

    def test_runs_that_contradict_each_other_stay_two(self, here: Path, there: Path) -> None:
        fill(here, range(3))
        fill(there, range(2, 5), {2: outcome(2, label="cats")})
        [merged] = merge(here, there)
        assert (merged.runs, merged.joined, merged.n_kept) == ({1: 2}, frozenset(), 0)
        with RunLog.open(here) as log:
            assert [row.label for row in log.read(labels_of, 1)] == ["dogs 0", "dogs 1", "dogs 2"]
            assert [row.label for row in log.read(labels_of, 2)] == ["cats", "dogs 3", "dogs 4"]
            assert len(log.read(scores_of, 1)) == len(log.read(scores_of, 2)) == 9
        again = content(here)
        merge(here, there)
        assert content(here) == again

    def test_runs_of_one_log_are_never_made_one(self, here: Path, there: Path) -> None:
        fill(there, range(2))
        fill(there, range(2, 4), new=True)
        merge(here, there)
        assert content(here) == content(there)

    def test_two_runs_of_the_other_log_never_join_one(self, here: Path, there: Path) -> None:
        fill(here, range(2))
        fill(there, range(2, 4))
        fill(there, range(4, 6), new=True)
        assert merge(here, there)[0].runs == {1: 1, 2: 2}

    def test_what_neither_concluded_keeps_runs_apart(self, here: Path, there: Path) -> None:
        for path in (here, there):
            with RunLog.open(path) as log:
                run_id = log.begin_run(identity(kind="explore", explainer=""), [5]).run_id
                log.write(add_evidence, evidence_rows(run_id, 5, 1, [token_list(path.stem)])).result()
        merge(here, there)
        with RunLog.open(here) as log:
            assert [log.read(evidence_of, run_id, 5, 1)[0].tokens[0].token for run_id in (1, 2)] == ["here", "there"]


class TestContest:
    """One log is a copy of the other, and both went on with the run."""

    @pytest.fixture
    def copies(self, here: Path, there: Path) -> tuple[Path, Path]:
        fill(here, [1])
        shutil.copy(here, there)
        return here, there

    def test_the_label_here_stands_and_the_others_is_counted(self, copies: tuple[Path, Path]) -> None:
        here, there = copies
        fill(here, [2, 3])
        run_id = fill(there, [2, 3], {2: outcome(2, label="cats")})
        review(there, run_id, 2, "accept")
        review(there, run_id, 3, "reject")
        [merged] = merge(here, there)
        assert (merged.n_same, merged.n_kept, merged.joined) == (2, 1, {1})
        with RunLog.open(here) as log:
            rows = log.read(labels_of, 1)
            assert [row.label for row in rows] == ["dogs 1", "dogs 2", "dogs 3"]
            assert [[said.verdict for said in log.read(reviews_of, [row.label_id])] for row in rows] == [
                [],
                [],
                ["reject"],
            ]
            assert {score.label for score in log.read(scores_of, 1)} == {"dogs 1", "dogs 2", "dogs 3", "a bird"}
            assert [len(log.read(evidence_of, 1, feature, 1)) for feature in (1, 2, 3)] == [3, 3, 3]

    def test_what_was_paid_for_is_kept_even_where_the_label_is_not(self, copies: tuple[Path, Path]) -> None:
        here, there = copies
        for path, words in ((here, "dogs"), (there, "cats")):
            with RunLog.open(path) as log:
                run_id = log.begin_run(identity(), [2]).run_id
                label(log, run_id, outcome(2, label=words), response=words)
        merge(here, there)
        with RunLog.open(here) as log:
            calls = log.read(calls_of, 1, 2)
            assert [(call.attempt, call.response) for call in calls] == [(1, "dogs"), (2, "cats")]

    def test_what_failed_here_and_not_there_is_taken_from_there(self, copies: tuple[Path, Path]) -> None:
        here, there = copies
        with RunLog.open(here) as log:
            run_id = log.begin_run(identity(), [2]).run_id
            add_call(log, run_id, request(2), answer("an unfinished thought"))
            add_call(log, run_id, request(2, round=2), failure())
            log.write(add_label, run_id, outcome(2, status="failed", label="", reason="overloaded")).result()
        fill(there, [2])
        [merged] = merge(here, there)
        assert (merged.added["labels"], merged.n_kept) == (1, 0)
        with RunLog.open(here) as log:
            [row] = log.read(labels_of, 1, features=[2])
            assert (row.status, row.label, row.reason) == ("labelled", "dogs 2", "")
            first, *others = log.read(attempts_of, 1, request(2))
            assert (first.attempt, first.response) == (1, "a dog")
            assert [(call.attempt, call.response) for call in others] == [(2, "an unfinished thought")]
            assert len(log.read(calls_of, 1, 2)) == 3
            assert [row.feature for row in log.read(labels_of, 1, search="dogs")] == [1, 2]

    def test_what_failed_there_does_not_replace_a_label(self, copies: tuple[Path, Path]) -> None:
        here, there = copies
        fill(here, [2])
        fill(there, [2], {2: outcome(2, status="failed", label="", reason="overloaded")})
        [merged] = merge(here, there)
        assert merged.n_kept == 0
        with RunLog.open(here) as log:
            assert log.read(labels_of, 1, features=[2])[0].label == "dogs 2"

    def test_a_review_taken_back_in_both_is_taken_back_once(self, here: Path, there: Path) -> None:
        run_id = fill(here, [1])
        review(here, run_id, 1, "accept")
        shutil.copy(here, there)
        for path in (here, there):
            with RunLog.open(path) as log:
                assert log.write_at_once(undo_review, log.read(labels_of, 1)[0].label_id, "ann")
        merge(here, there)
        with RunLog.open(here) as log:
            [said] = log.read(reviews_of, [log.read(labels_of, 1)[0].label_id])
            assert said.undone


class TestNumbers:
    """The same ids mean other things in the two logs."""

    @pytest.fixture
    def taken(self, here: Path) -> Path:
        """A log in which the first run, corpus, label and text are others."""
        fill(here, [9], who=identity(explainer="another"))
        with RunLog.open(here) as log:
            add_call(log, 1, request(9, system="Another system prompt.", purpose="other"), answer())
            log.write(begin_corpus, corpus_identity(seed=99)).result()
        return here

    def test_references_follow_their_rows(self, taken: Path, there: Path) -> None:
        other = identity(explainer="new")
        with RunLog.open(there) as log:
            log.write(begin_corpus, corpus_identity(seed=5)).result()
            run_id = log.begin_run(other, [3]).run_id
            add_call(log, run_id, request(3, system="A third system prompt."), answer("three"))
        run_id = fill(there, [3, 4], who=other, scored=True)
        review(there, run_id, 4, "flag", note="odd")
        [merged] = merge(taken, there)
        assert merged.runs == {1: 2}
        with RunLog.open(taken) as log:
            rows = log.read(labels_of, 2)
            assert [row.label for row in rows] == ["dogs 3", "dogs 4"]
            assert log.read(calls_of, 2, 3)[0].system == "A third system prompt."
            assert log.read(calls_of, 2, 4)[0].system == "You read evidence."
            assert [said.note for said in log.read(reviews_of, [rows[1].label_id])] == ["odd"]
            [scoring] = log.read(scorings_of, 2)
            assert {score.feature for score in log.read(scores_of, scoring.scoring_id)} == {3, 4}
            assert sorted(corpus.seed for corpus in log.read(corpora_of)) == [0, 5, 99]
            assert log.read(examples_of, scoring.corpus_id, 3) is not None
        with closing(sqlite3.connect(taken)) as connection:
            assert not connection.execute("PRAGMA foreign_key_check").fetchall()
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_a_run_is_known_by_the_content_of_its_texts_whatever_their_number(self, taken: Path, there: Path) -> None:
        texts = corpus_identity(seed=5)
        who = identity(settings={"rounds": 3, "corpus": texts.hash, "maxima_corpus": texts.hash})
        with RunLog.open(there) as log:
            assert log.write(begin_corpus, texts).result() == 1
        fill(there, [3], who=who, scored=False)
        [merged] = merge(taken, there)
        with RunLog.open(taken) as log:
            assert log.read(find_corpus, texts.hash) not in (None, 1)
            again = log.begin_run(who, [3])
            assert (again.run_id, again.done) == (merged.runs[1], {3})
        assert merge(taken, there)[0].added == {}

    def test_a_scoring_goes_on_under_its_new_numbers_and_is_no_other_runs(self, taken: Path, there: Path) -> None:
        fill(there, [3], scored=False)
        with RunLog.open(there) as log:
            log.write(begin_scoring, scoring_identity(1, 1)).result()
        [merged] = merge(taken, there)
        with RunLog.open(taken) as log:
            [scoring] = log.read(scorings_of, merged.runs[1])
            here = scoring_identity(merged.runs[1], scoring.corpus_id)
            assert log.read(find_scoring, here) == scoring.scoring_id
            others = {"templates": {"judge": "of then"}, "run_id": 1, "judge": "b", "settings": {"texts": 2}}
            for other in ({name: value} for name, value in others.items()):
                assert log.read(find_scoring, here.model_copy(update=other)) != scoring.scoring_id
        before = counted(taken)
        merge(taken, there)
        assert counted(taken) == before


class TestOrder:
    """Three logs of three machines: merged in any order, twice and by way of others, they hold the same."""

    @pytest.fixture
    def machines(self, tmp_path: Path) -> list[Path]:
        """Parts of one run that read texts, and a run of each machine's own; the corpora have other numbers in each."""
        paths = [tmp_path / f"{name}.db" for name in "abc"]
        texts = corpus_identity(seed=5)
        for place, path in enumerate(paths):
            with RunLog.open(path) as log:
                for seed in range(place):
                    log.write(begin_corpus, corpus_identity(seed=100 + 10 * place + seed)).result()
                log.write(begin_corpus, texts).result()
            fill(path, [place], who=identity(explainer=f"own {place}"))
            part = fill(path, [10 + place], who=identity(settings={"rounds": 3, "maxima_corpus": texts.hash}))
            review(path, part, 10 + place, "accept", reviewer=f"{place}")
        return paths

    def test_in_any_order_twice_and_chained(self, machines: list[Path], tmp_path: Path) -> None:
        unlike = OWN | TIMES | {"command", "features", "neighbour"}
        found = []
        for place, order in enumerate(permutations(machines)):
            target = tmp_path / f"all{place}.db"
            merge(target, *order)
            merge(target, order[0])
            chained, half = tmp_path / f"chained{place}.db", tmp_path / f"half{place}.db"
            merge(half, order[2], order[1])
            merge(chained, order[0], half)
            merge(chained, target)
            for path in (target, chained):
                held = content(path, unlike)
                found.append({table: rows for table, rows in held.items() if table != "invocations"})
                with RunLog.open(path) as log:
                    runs = {run.explainer: run.features for run in log.read(all_runs)}
                    assert runs == {"own 0": "0", "own 1": "1", "own 2": "2", RULES: "10-12"}
                    texts = corpus_identity(seed=5).hash
                    joined = log.begin_run(identity(settings={"rounds": 3, "maxima_corpus": texts}), [10, 11, 12])
                    assert (joined.resumed, joined.done) == (True, {10, 11, 12})
        assert all(held == found[0] for held in found)


class TestLatest:
    """What is the latest is so by time: rows of an imported log have the higher numbers, however old they are."""

    def test_an_older_run_corpus_review_and_comparison_do_not_become_the_latest(self, here: Path, there: Path) -> None:
        fill(there, [3])
        review(there, 1, 3, "reject", reviewer="bob")
        with RunLog.open(there) as log:
            log.write(begin_corpus, corpus_identity(seed=7)).result()
            log.write(add_recommendation, "f" * 64, _compared(log), ProbeSettings(), "the older one").result()
            log.write(add_classes, 1, "f" * 64, [(3, "dead", None)]).result()
        execute(there, *(f"UPDATE {table} SET {time} = '2020-01-01T00:00:00.000Z'" for table, time in _TIMES))
        fill(here, [3])
        review(here, 1, 3, "accept")
        with RunLog.open(here) as log:
            log.write(add_recommendation, "f" * 64, _compared(log), ProbeSettings(), "the newer one").result()
            log.write(add_classes, 1, "f" * 64, [(3, "concept", None)]).result()
        execute(there, f"UPDATE runs SET explainer = 'older', identity = 'older' WHERE explainer = '{RULES}'")
        merge(here, there)
        with RunLog.open(here) as log:
            latest = log.read(chosen_run, None), log.read(chosen_run, log.read(latest_labelled))
            assert [run.explainer for run in latest] == [RULES, RULES]
            kinds = [(run.run_id, run.explainer, run.kind) for run in log.read(all_runs)]
            assert kinds == [(3, "older", "label"), (1, RULES, "label"), (2, "", "compare")]
            assert log.read(corpora_of)[0].seed == 0
            found = log.read(recommendation_for, "f" * 64)
            assert found is not None
            assert found.because == "the newer one"
            assert log.read(classes_of, "f" * 64)[3].kind == "concept"
            assert log.read(scorings_of, 1)[0].created > "2021"
            assert labels_elsewhere(log.read(_itself), 99, "f" * 64, 3)[0].created > "2021"

    def test_an_older_verdict_that_is_imported_last_is_not_the_latest(self, here: Path, there: Path) -> None:
        run_id = fill(here, [3])
        shutil.copy(here, there)
        review(there, run_id, 3, "reject")
        execute(there, "UPDATE reviews SET created = '2020-01-01T00:00:00.000Z'")
        review(here, run_id, 3, "accept")
        merge(here, there)
        with RunLog.open(here) as log:
            [row] = log.read(labels_of, run_id)
            assert [said.verdict for said in log.read(reviews_of, [row.label_id])] == ["reject", "accept"]
            assert log.read(verdicts_of, run_id) == {"ann": {row.label_id: "accept"}}
            assert log.read(count_labels, run_id, LabelFilter(reviewed="accept")) == 1
            assert log.write_at_once(undo_review, row.label_id, "ann")
            assert log.read(verdicts_of, run_id) == {"ann": {row.label_id: "reject"}}
        with closing(sqlite3.connect(here)) as connection:
            assert connection.execute("SELECT verdict FROM labels_reviewed").fetchall() == [("reject",)]


_TIMES = [
    *((table, "created") for table in ("runs", "labels", "scorings", "scores", "corpora", "reviews", "comparisons")),
    *((table, "created") for table in ("recommendations", "classes", "compared", "evidence", "calls")),
    ("invocations", "started"),
]


def _itself(db: Database) -> Database:
    return db


def _compared(log: RunLog) -> int:
    """A comparison of the log's own."""
    run_id = log.begin_run(identity(kind="compare", explainer=""), [3]).run_id
    return log.write(begin_comparison, ComparisonIdentity(run_id=run_id, corpus_id=1, settings={})).result()


class TestRefusals:
    @pytest.fixture
    def full(self, here: Path) -> Iterator[Path]:
        """A log that must read the same afterwards."""
        fill(here, [1])
        before = content(here)
        yield here
        assert content(here) == before

    def test_itself(self, full: Path, tmp_path: Path) -> None:
        (tmp_path / "link.db").symlink_to(full)
        for other in (full, tmp_path / "link.db"):
            with pytest.raises(LogError, match="is the log that would be written to"):
                merge(full, other)

    def test_what_is_no_log(self, full: Path, there: Path, tmp_path: Path) -> None:
        with pytest.raises(LogError, match="There is no log at"):
            merge(full, there)
        there.touch()
        with pytest.raises(LogError, match="is empty"):
            merge(full, there)
        execute(there, "CREATE TABLE birds (name TEXT)")
        with pytest.raises(LogError, match="another program"):
            merge(full, there)
        there.write_text("Dear diary, " * 1000)
        with pytest.raises(LogError, match="not a SQLite database"):
            merge(full, there)
        with pytest.raises(LogError, match="not a file"):
            merge(full, tmp_path)

    def test_a_target_is_not_made_in_vain(self, here: Path, there: Path) -> None:
        with pytest.raises(LogError):
            merge(here, there)
        assert not here.exists()

    def test_a_newer_log(self, full: Path, there: Path) -> None:
        fill(there, [2])
        execute(there, "PRAGMA user_version = 9")
        with pytest.raises(LogError, match="newer version"):
            merge(full, there)

    def test_of_several_all_or_none(self, full: Path, there: Path, tmp_path: Path) -> None:
        fill(there, [2])
        broken = tmp_path / "broken.db"
        fill(broken, [3])
        execute(broken, "UPDATE labels SET run_id = 55")
        with pytest.raises(LogError, match=r"broken.db is damaged: row 1 of labels refers to row 55 of runs"):
            merge(full, there, broken)

    def test_rows_that_no_log_may_hold(self, full: Path, there: Path) -> None:
        fill(there, [2])
        execute(there, "PRAGMA ignore_check_constraints = ON", "UPDATE labels SET status = 'perhaps'")
        with pytest.raises(LogError, match=r"there.db holds a row of labels that no log may hold"):
            merge(full, there)

    def test_a_run_that_is_being_written(self, full: Path, there: Path) -> None:
        fill(there, [2])
        with RunLog.open(full) as live:
            live.begin_run(identity(), [1])
            before = content(full)
            with pytest.raises(LogError, match="is being written by another process"):
                merge(full, there)
            assert content(full) == before
        execute(full, "DELETE FROM invocations WHERE id > 1")

    def test_other_runs_may_be_written_meanwhile(self, here: Path, there: Path) -> None:
        fill(there, [2], who=identity(explainer="new"))
        with RunLog.open(here) as live:
            live.begin_run(identity(), [1])
            assert merge(here, there)[0].runs == {1: 2}


def test_whatever_is_called_an_id_is_declared_as_a_reference(here: Path) -> None:
    """Else its number would be copied as it stands."""
    fill(here, [1])
    with closing(sqlite3.connect(here)) as connection:
        db = Database(connection)
        for table in tables():
            named = {column for column in db[table].columns_dict if column.endswith("_id")} - {"token_id"}
            assert named <= references(db, table).keys(), table


@pytest.fixture
def interpret(capsys: pytest.CaptureFixture[str]) -> Iterator[Interpret]:
    with environment():
        yield commands(capsys)


def test_on_the_command_line(interpret: Interpret, here: Path, there: Path) -> None:
    fill(here, [1])
    fill(there, [2, 3])
    said = interpret("import", str(there), "--log", str(here))
    assert said.status == 0
    assert re.search(r"runs\s+1 as 1, joined to it", said.out)
    assert "2 labels" in said.out
    assert "nothing: all of it was here already" in interpret("import", str(there), "--log", str(here)).out
    assert interpret("import", str(here), "--log", str(here)).status == 2
    assert interpret("import").status == 2
