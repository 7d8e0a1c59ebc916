"""Shards of a run: which features each has, and that their logs, imported into one, are the log of one run."""

import asyncio
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

import agent.run
from agent.llm.offline import Offline
from agent.log.evidence import evidence_rounds
from agent.log.labels import labels_of
from agent.log.rows import decompressed
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from agent.run import run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome
from agent.shards import Shard, parse_shard
from probes.errors import SettingsError
from probes.evidence import Evidence, Projection, TokenList, Tree
from tests.bench.kill_run import interpret_command, kill_and_resume
from tests.fakes import GENERIC, MIXED, SUBJECT, FakeProbes, Notes, config
from tests.fault_runs import Interpret

LABEL = ("feature", "status", "label", "explanation", "confidence", "rounds", "reason", "evidence")
WHOLE = Shard(0, 1)
EVIDENCES = """evidence JOIN texts AS settings ON settings.id = settings_id
    JOIN texts AS dictionaries ON dictionaries.id = dictionary_id"""
EVIDENCE = (
    "feature",
    "round",
    "item",
    "evidence.kind",
    "settings.text",
    "n_nodes",
    "summary",
    "unpacked(payload, dictionaries.text)",
)
ASKED = ("feature", "round", "purpose", "item", "prompt", "answer")


def rows_of(path: Path, table: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Returns what a log has in those columns, in the order of the first few; `unpacked` reads what is compressed."""
    sql = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {', '.join(columns[:3])}"

    def read(db: Database) -> list[tuple[Any, ...]]:
        db.conn.create_function("unpacked", 2, decompressed)
        return db.execute(sql).fetchall()

    with RunLog.open(path, read_only=True) as log:
        return log.read(read)


class TestShare:
    @pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
    def test_shards_are_all_features_each_once(self, count: int) -> None:
        features = [9, 3, 200, 4, 5, 1, 77, 12]
        shares = [Shard(index, count).of(features) for index in range(count)]
        assert sorted(feature for share in shares for feature in share) == sorted(features)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert all(share == sorted(share) for share in shares)

    def test_it_is_every_nth_of_the_features_in_rising_order_from_the_ith(self) -> None:
        assert Shard(1, 3).of([12, 3, 9, 4, 1, 77, 5]) == [3, 9]
        assert parse_shard("1/3") == Shard(1, 3)

    @pytest.mark.parametrize(
        ("task", "shard"),
        [
            ({"ID": "0", "COUNT": "4"}, Shard(0, 4)),
            ({"ID": "3", "COUNT": "4", "MIN": "0", "MAX": "3"}, Shard(3, 4)),
            ({"ID": "1", "COUNT": "4", "MIN": "1"}, Shard(0, 4)),
            ({"ID": "14", "COUNT": "3", "MIN": "10", "STEP": "2"}, Shard(2, 3)),
        ],
    )
    def test_slurm_says_which(self, task: Mapping[str, str], shard: Shard) -> None:
        assert parse_shard("slurm", slurm(task)) == shard

    @pytest.mark.parametrize(
        ("task", "words"),
        [
            ({}, "SLURM_ARRAY_TASK_ID is not set"),
            ({"ID": "3"}, "SLURM_ARRAY_TASK_COUNT is not set"),
            ({"ID": "x", "COUNT": "2"}, "SLURM_ARRAY_TASK_ID is 'x'"),
            ({"ID": "9", "COUNT": "3", "MIN": "1"}, "Task 9 has no place in a job array of 3 that begins at 1"),
            ({"ID": "0", "COUNT": "3", "MIN": "1"}, "Task 0 has no place"),
            ({"ID": "3", "COUNT": "3", "STEP": "2"}, "Task 3 has no place"),
        ],
    )
    def test_an_array_that_says_nothing_usable_is_refused(self, task: Mapping[str, str], words: str) -> None:
        with pytest.raises(SettingsError, match=words):
            parse_shard("slurm", slurm(task))

    @pytest.mark.parametrize("text", ["3/2", "2/2", "0/0", "-1/2", "a/b", "1/", "1", "1/2/3", "1.0/2", " ", "٣/٤"])
    def test_what_is_no_shard_is_one_sentence(self, interpret: Interpret, tiny: list[str], text: str) -> None:
        ran = interpret("--features", "0-3", *tiny, "--shard", text)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "hard" in ran.err
        assert not Path("interpret.db").exists()


def slurm(task: Mapping[str, str]) -> dict[str, str]:
    return {f"SLURM_ARRAY_TASK_{name}": value for name, value in task.items()}


class TestOneRun:
    """With probes that give the same to the last digit, whatever is probed beside."""

    FEATURES = range(20)

    @pytest.fixture(autouse=True)
    def probes(self, monkeypatch: pytest.MonkeyPatch) -> FakeProbes:
        sides = ("words", "vocabulary", "encoder", "decoder")
        fake = FakeProbes(definitions={4: dict.fromkeys(sides, GENERIC), 7: {"words": MIXED}})
        fake.faulty = frozenset({11})
        monkeypatch.setattr(agent.run, "run_probes", fake)
        return fake

    def run(self, path: Path, shard: Shard = WHOLE, stop_after: int | None = None, **changes: Any) -> None:
        told: list[int] = []

        async def work() -> None:
            def tell(outcome: Outcome) -> None:
                told.append(outcome.feature)
                if len(told) == stop_after:
                    task.cancel()

            notes = Notes(on_told=tell)
            features = shard.of(self.FEATURES)
            task = asyncio.create_task(
                run_features(RunSpec(config(**changes), SUBJECT, Offline()), log, features, False, notes)
            )
            await asyncio.gather(task, return_exceptions=stop_after is not None)

        with RunLog.open(path) as log:
            asyncio.run(work())

    @pytest.mark.parametrize("stop_after", [None, 1, 5])
    def test_merged_shards_are_one_run_row_by_row(self, tmp_path: Path, stop_after: int | None) -> None:
        whole, merged = tmp_path / "whole.db", tmp_path / "merged.db"
        shards = [tmp_path / f"{index}.db" for index in range(2)]
        self.run(whole)
        for index, path in enumerate(shards):
            if stop_after:
                self.run(path, Shard(index, 2), stop_after)
                assert 0 < len(rows_of(path, "labels", LABEL)) < 10
            self.run(path, Shard(index, 2))
        RunLog.merge(merged, shards)
        assert rows_of(merged, "labels", LABEL) == rows_of(whole, "labels", LABEL)
        assert rows_of(merged, EVIDENCES, EVIDENCE) == rows_of(whole, EVIDENCES, EVIDENCE)
        answered = [[row for row in rows_of(path, "calls", ASKED) if row[-1]] for path in (merged, whole)]
        assert answered[0] == answered[1]
        run_columns = ("identity", "features", "status", "settings", "explainer")
        assert rows_of(merged, "runs", run_columns) == rows_of(whole, "runs", run_columns)

    def test_a_shard_that_was_cut_off_may_be_imported_before_and_after_it_is_done(self, tmp_path: Path) -> None:
        whole, merged, part = (tmp_path / name for name in ("whole.db", "merged.db", "part.db"))
        self.run(whole)
        self.run(merged, Shard(0, 2))
        self.run(part, Shard(1, 2), stop_after=3)
        RunLog.merge(merged, [part])
        with RunLog.open(merged) as log:
            assert [run.status for run in log.read(all_runs)] == ["unfinished"]
        self.run(part, Shard(1, 2))
        RunLog.merge(merged, [part])
        assert rows_of(merged, "labels", LABEL) == rows_of(whole, "labels", LABEL)
        assert rows_of(merged, EVIDENCES, EVIDENCE) == rows_of(whole, EVIDENCES, EVIDENCE)

    def test_the_merged_run_goes_on_as_the_plain_command(self, tmp_path: Path, probes: FakeProbes) -> None:
        merged, part = tmp_path / "merged.db", tmp_path / "part.db"
        self.run(merged, Shard(0, 2))
        self.run(part, Shard(1, 2))
        RunLog.merge(merged, [part])
        probes.batches.clear()
        probes.faulty = frozenset()
        self.run(merged)
        assert {*probes.probed()} == {11}  # which had failed


@pytest.fixture(scope="module")
def small() -> list[str]:
    return ["--cutoff", "0.05", "--max-depth", "4", "--rounds", "2"]


class TestCommands:
    def test_shards_of_a_subject_give_the_labels_of_one_run(
        self, interpret: Interpret, tiny: list[str], small: list[str]
    ) -> None:
        assert interpret("--features", "0-8", *tiny, *small, "--log", "whole.db").status == 0
        for index in range(2):
            ran = interpret("--features", "8,0-7", *tiny, *small, "--log", f"{index}.db", "--shard", f"{index}/2")
            assert ran.status == 0, ran.err
            assert f"(8,0-7, shard {index}/2)" in ran.out
        ran = interpret("import", "0.db", "1.db", "--log", "merged.db")
        assert "1 as 1, joined to it" in ran.out
        assert "apart" not in ran.out
        assert rows_of(Path("merged.db"), "labels", LABEL) == rows_of(Path("whole.db"), "labels", LABEL)
        assert_alike(Path("merged.db"), Path("whole.db"))
        again = interpret("--features", "0-8", *tiny, *small, "--log", "merged.db")
        assert "nothing left to do: all 9 features are done" in again.out

    def test_shards_are_steered_by_the_same_examples_whichever_features_these_have(
        self, interpret: Interpret, tiny: list[str], small: list[str]
    ) -> None:
        Path("corpus.txt").write_text("the cat sat on the mat and the dog ran home\n\n" * 40, encoding="utf-8")
        for features, seed in ("0-9", "1"), ("0,2,4", "2"):
            collect = ("examples", "--features", features, *tiny, "--corpus", "corpus.txt", "--seed", seed)
            assert interpret(*collect, "--log", "0.db").status == 0
        shutil.copy("0.db", "1.db")
        for index in range(2):
            steered = ("--steer", "clamp", "--log", f"{index}.db", "--shard", f"{index}/2")
            ran = interpret("--features", "0-5", *tiny, *small, *steered)
            assert ran.status in (0, 1), ran.err  # 1: the examples know no maximum of some feature
        assert "1 as 1, joined to it" in interpret("import", "0.db", "1.db", "--log", "merged.db").out

    def test_a_shard_of_an_array_is_found_in_the_environment(
        self, interpret: Interpret, tiny: list[str], small: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in slurm({"ID": "3", "COUNT": "2", "MIN": "2"}).items():
            monkeypatch.setenv(name, value)
        ran = interpret("--features", "0-3", *tiny, *small, "--shard", "slurm")
        assert ran.status == 0, ran.err
        assert [row[0] for row in rows_of(Path("interpret.db"), "labels", LABEL)] == [1, 3]

    def test_a_shard_without_features_says_so(self, interpret: Interpret, tiny: list[str]) -> None:
        ran = interpret("--features", "0-1", *tiny, "--shard", "2/3")
        assert (ran.status, ran.err) == (0, "")
        assert "There is no feature in 0-1, shard 2/3, so there is nothing to do." in ran.out

    def test_shards_that_differ_stay_apart_and_the_difference_is_named(
        self, interpret: Interpret, tiny: list[str], small: list[str]
    ) -> None:
        for index, more in enumerate([[], ["--top-k", "3"]]):
            interpret("--features", "0-3", *tiny, *small, *more, "--log", f"{index}.db", "--shard", f"{index}/2")
        ran = interpret("import", "0.db", "1.db", "--log", "merged.db")
        assert ran.status == 0, ran.err
        assert "2 was not merged with 1: it differs in settings.probe.tree.top_k (3, not 5)" in ran.out
        assert [*rows_of(Path("merged.db"), "runs", ("features", "status"))] == [
            ("0,2", "finished"),
            ("1,3", "finished"),
        ]


def assert_alike(one: Path, other: Path) -> None:
    """That two logs have the same evidence, but for the last digit of its numbers: float32 rounds a little otherwise
    in a batch of other features, which shows where a number is near the middle of two that are stored."""
    assert rows_of(one, EVIDENCES, EVIDENCE[:5]) == rows_of(other, EVIDENCES, EVIDENCE[:5])
    with RunLog.open(one) as log, RunLog.open(other) as whole:
        for row in whole.read(labels_of, 1):
            ours, theirs = log.read(evidence_rounds, 1, row.feature), whole.read(evidence_rounds, 1, row.feature)
            for number, pieces in theirs.items():
                for mine, piece in zip(ours[number], pieces, strict=True):
                    assert numbers_of(mine) == pytest.approx(numbers_of(piece), rel=1.01e-3)


def numbers_of(piece: Evidence) -> dict[tuple[int, ...], float]:
    """The numbers of a tree by path, those of a list by token: near ties may stand in either order."""
    match piece:
        case Tree():
            paths: list[tuple[int, ...]] = []
            for parent, token in zip(piece.parents, piece.token_ids, strict=True):
                paths.append((*paths[parent], token) if parent >= 0 else ())
            return dict(zip(paths, piece.probabilities, strict=True))
        case TokenList():
            return {(token.token_id,): token.score for token in piece.tokens}
        case Projection():
            return {(token.token_id,): token.score for token in (*piece.top, *piece.bottom)}
    raise AssertionError(piece)


def test_a_shard_that_is_killed_and_run_again_is_as_good_as_one_that_was_not(tmp_path: Path) -> None:
    small = ("--cutoff", "0.01", "--max-depth", "8", "--concurrency", "4")
    logs = [tmp_path / name for name in ("whole.db", "0.db", "1.db")]
    for path, shard in zip(logs[:2], ("0/1", "0/2"), strict=True):
        command = interpret_command("0-39", path, *small, "--shard", shard)
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    kill_and_resume(logs[2], interpret_command("0-39", logs[2], *small, "--shard", "1/2"), kills=1, seed=31)
    RunLog.merge(tmp_path / "merged.db", logs[1:])
    assert rows_of(tmp_path / "merged.db", "labels", LABEL) == rows_of(logs[0], "labels", LABEL)
    assert_alike(tmp_path / "merged.db", logs[0])
