"""Shards of a pass over a corpus: put together they are one pass, row by row; some of them never pass for all."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.shards import Shard
from eval.collect import corpus_pass
from eval.collect import windows as windows_module
from eval.collect.corpora import Document
from eval.collect.corpus_pass import SILENT, CollectSettings
from eval.collect.examples import harvest
from eval.collect.shards import put_together, read_shards
from eval.collect.tally import BatchActivations, Tally, TallySizes
from eval.collect.windows import WindowBatch
from probes.subject import Subject
from tests.example_files import lines
from tests.fault_runs import Interpret
from tests.fitting import fitting, texts

FEATURES = [3, 60, 17, 0]
SIZES = TallySizes(top=2, per_cell=2, pool=5)
WINDOWS = 40
"""Different texts of the made-up batches; activations have few values, so that peaks tie and texts recur."""


@pytest.fixture
def many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches, so that every shard has some and ranges grow while the pass goes on."""
    monkeypatch.setattr(corpus_pass, "BATCH_TOKENS", 600)
    monkeypatch.setattr(windows_module, "_SORTED", 32)


def made_up(first: int, windows: Sequence[tuple[int, int, int]]) -> BatchActivations:
    """A batch of windows of one token, each given as text, feature and activation: in sixteenths of a power of two."""
    text, column, size = np.array(windows, dtype=np.int64).T
    n = len(windows)
    ids = np.stack([np.ones(n, dtype=np.int64), text + 2], axis=1)
    counted = np.array([[False, True]] * n)
    documents = [f"d{first + place}" for place in range(n)]
    batch = WindowBatch(first, documents, np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.int64), 1, ids, counted)
    values = (1 + size % 16 / 16) * 2.0 ** (size // 16)
    return BatchActivations(batch, np.arange(n), np.ones(n, dtype=np.int64), column, values.astype(np.float32))


def everything(tally: Tally) -> list[Any]:
    """All that a pass makes of a tally, as values that compare."""
    found: list[Any] = [tally.pool.names.tolist(), tally.pool.rows.tolist()]
    for place in range(len(FEATURES)):
        activity = tally.histograms.activity(place, FEATURES[place], max(1, tally.n_tokens))
        kept = [(part.names.tolist(), as_text(part.rows)) for part in tally.kept(place)]
        found.append((activity, kept))
    return [tally.n_tokens, str(found)]


def as_text(rows: np.ndarray[Any, Any]) -> list[str]:
    return [f"{row['place']} {row['document']} {row['activations'].tolist()}" for row in rows]


BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, WINDOWS), st.integers(0, 3), st.integers(0, 80)), min_size=1, max_size=30),
    min_size=1,
    max_size=12,
)


@given(BATCHES, st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_tallies_of_parts_add_up_to_the_tally_of_all(batches: list[list[tuple[int, int, int]]], count: int) -> None:
    firsts = np.cumsum([0, *map(len, batches)]).tolist()
    whole, parts = Tally(FEATURES, SIZES, 0), [Tally(FEATURES, SIZES, 0) for _ in range(count)]
    for number, (first, windows) in enumerate(zip(firsts, batches, strict=False)):
        whole.add(made_up(first, windows))
        parts[number % count].add(made_up(first, windows))
    union = Tally(FEATURES, SIZES, 0)
    for place in range(len(FEATURES)):
        union.add_feature(place, [part.of_feature(place) for part in parts])
    union.add_pool([part.pool for part in parts])
    union.n_tokens = sum(part.n_tokens for part in parts)
    assert everything(union) == everything(whole)


def test_a_feature_s_sample_does_not_hang_on_the_features_beside_it() -> None:
    windows = [(text, 0, text) for text in range(WINDOWS)]
    one, other = Tally([7, 8], SIZES, 0), Tally([7], SIZES, 0)
    one.add(made_up(0, windows))
    other.add(made_up(0, windows))
    assert one.kept(0)[1].names.tolist() == other.kept(0)[1].names.tolist()


@pytest.mark.usefixtures("many_batches")
@pytest.mark.parametrize("count", [1, 2, 5])
def test_shards_of_a_model_s_pass_are_one_pass(subject_of: Callable[[str], Subject], count: int) -> None:
    subject = fitting(subject_of("gemma"))
    once = texts(50)
    corpus = [*once, *(Document(f"again {document.where}", document.text) for document in once[:25])]
    asked = CollectSettings(n_tokens=2500, context=40, top=5, per_cell=2, pool=30)
    whole, found = harvest(subject, corpus, FEATURES, asked)
    shards = [
        read_shards([(subject, FEATURES)], corpus, asked, Shard(index, count), SILENT)[0] for index in range(count)
    ]
    assert all(shard.figures.n_tokens for shard in shards)
    union, put = put_together(subject, FEATURES, shards[::-1], asked, SILENT, None)
    assert union.features == whole.features
    assert (union.n_tokens, union.n_documents, union.check) == (whole.n_tokens, whole.n_documents, whole.check)
    assert union.pool.windows == whole.pool.windows
    assert np.array_equal(union.pool.peaks, whole.pool.peaks)
    assert [*put] == [*found]


SMALL = ("--tokens", "6000", "--corpus", "corpus.jsonl")
TABLES = {
    "corpora": "identity, settings, n_tokens, l0, explained_variance, seed",
    "activity": "feature, n_tokens, n_active, maximum, histogram, baselines",
    "examples": "feature, split, kind, neighbour, document, start, quantile, max_activation, text, payload",
}


def rows_of(log: str, table: str) -> list[Any]:
    with sqlite3.connect(log) as db:
        return db.execute(f"SELECT {TABLES[table]} FROM {table} ORDER BY {TABLES[table]}").fetchall()


def n_rows(log: str, table: str) -> int:
    with sqlite3.connect(log) as db:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.mark.usefixtures("own_folder", "many_batches")
class TestCommands:
    @pytest.fixture(autouse=True)
    def corpus(self, own_folder: None) -> None:  # noqa: ARG002
        Path("corpus.jsonl").write_bytes(lines({"text": document.text} for document in texts(200, longest=40)))

    def test_imported_shards_are_the_examples_of_one_process_row_by_row(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        collect = ("examples", "--features", "0-9", *tiny, *SMALL)
        assert interpret(*collect, "--log", "whole.db").status == 0
        for index in range(3):
            ran = interpret(*collect, "--log", f"{index}.db", "--shard", f"{index}/3")
            assert ran.status == 0, ran.err
            assert n_rows(f"{index}.db", "corpora") == n_rows(f"{index}.db", "examples") == 0
        assert "shard 1/3 is in the log" in interpret(*collect, "--log", "1.db", "--shard", "1/3").out
        some = interpret("import", "0.db", "2.db", "--log", "all.db")
        assert "0 and 2 of 3 of corpus.jsonl" in some.out
        assert "1 missing" in some.out
        refused = interpret(*collect, "--log", "all.db")
        assert (refused.status, refused.err.count("\n")) == (2, 1)
        assert "has 0 and 2 of 3 shards of these examples and lacks 1" in refused.err
        assert "all 3 of corpus.jsonl" in interpret("import", "1.db", "--log", "all.db").out
        ran = interpret(*collect, "--log", "all.db")
        assert ran.status == 0, ran.err
        for table in TABLES:
            assert rows_of("all.db", table) == rows_of("whole.db", table)
        assert len(rows_of("all.db", "examples")) > 100
        assert n_rows("all.db", "corpus_shards") == n_rows("all.db", "shard_features") == 0
        assert "Nothing left to do" in interpret(*collect, "--log", "all.db").out

    def test_shards_of_other_settings_are_kept_apart_and_the_difference_is_named(
        self, interpret: Interpret, tiny: list[str]
    ) -> None:
        collect = ("examples", "--features", "0-3", *tiny, "--corpus", "corpus.jsonl")
        for index, n_tokens in enumerate(("3000", "2000")):
            interpret(*collect, "--tokens", n_tokens, "--log", f"{index}.db", "--shard", f"{index}/2")
        ran = interpret("import", "0.db", "1.db", "--log", "all.db")
        assert "not of the same pass: they differ in settings.tokens (2000, not 3000)" in " ".join(ran.out.split())
        refused = interpret(*collect, "--tokens", "3000", "--log", "all.db")
        assert "has 0 of 2 shards of these examples and lacks 1" in refused.err
        other = interpret(*collect, "--tokens", "1000", "--log", "all.db")
        assert other.status == 0, other.err
        assert "differ in settings.tokens (3000, not 1000)" in " ".join(other.out.split())
        assert n_rows("all.db", "corpus_shards") == 2

    def test_a_task_of_an_array_reads_its_shard(
        self, interpret: Interpret, tiny: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
        ran = interpret("examples", "--features", "0-3", *tiny, *SMALL, "--shard", "slurm")
        assert ran.status == 0, ran.err
        assert "shard 1/2" in ran.out

    def test_a_shard_is_about_a_corpus_and_not_about_files(self, interpret: Interpret, tiny: list[str]) -> None:
        ran = interpret("examples", "--features", "0-3", *tiny, "--import", "corpus.jsonl", "--shard", "0/2")
        assert ran.status == 2
        assert "--shard is about reading a corpus, not about --import" in ran.err

    def test_a_damaged_shard_is_one_sentence(self, interpret: Interpret, tiny: list[str]) -> None:
        collect = ("examples", "--features", "0-3", *tiny, *SMALL, "--log", "all.db")
        assert interpret(*collect, "--shard", "0/1").status == 0
        with sqlite3.connect("all.db") as db:
            db.execute("UPDATE shard_features SET payload = (SELECT payload FROM corpus_shards)")
        ran = interpret(*collect)
        assert (ran.status, ran.err.count("\n")) == (2, 1)
        assert "damaged" in ran.err
