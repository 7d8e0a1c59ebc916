"""Texts are kept once and compressed by what they have in common: none is lost, and none is read by another's."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import LogError
from agent.log import codec
from agent.log.evidence import add_evidence, evidence_of, evidence_rows
from agent.log.rows import compressed, decompressed
from agent.log.run_log import RunLog
from agent.log.texts import pack_text, shared_text
from tests.logged import grown_tree, identity

ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=200)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with RunLog.open(tmp_path / "log.db") as opened:
        yield opened


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(sql).fetchall()


@given(ANY_TEXT, ANY_TEXT)
def test_any_text_comes_back_by_any_dictionary(text: str, dictionary: str) -> None:
    assert decompressed(compressed(text, dictionary), dictionary) == text


def test_a_text_is_kept_once_for_each_use(log: RunLog) -> None:
    ids = [log.write(shared_text, kind, "long").result() for kind in ("system", "settings", "system")]
    assert ids == [1, 2, 1]


def test_a_dictionary_grows_until_it_is_long(log: RunLog) -> None:
    texts = [f"{n} " * 1500 for n in range(5)]  # of 3,000 characters each
    found = [log.write(pack_text, "tree", text).result().dictionary_id for text in texts]
    assert found == [1, 2, 3, 3, 3]
    assert rows(log.path, "SELECT length(text) FROM texts") == [(3000,), (6000,), (9000,)]


def test_what_is_like_the_first_is_small(log: RunLog) -> None:
    first = codec.encode(grown_tree(500))
    alike = first.replace('"ghost_position":2', '"ghost_position":3')
    found = [log.write(pack_text, "tree", text).result() for text in (first, alike)]
    assert len(found[1].payload) < len(compressed(alike)) / 10


@pytest.mark.parametrize(
    "change",
    ["UPDATE texts SET text = text || 'x'", "UPDATE evidence SET dictionary_id = settings_id"],
    ids=["altered", "another"],
)
def test_a_payload_without_its_dictionary_is_one_sentence(tmp_path: Path, change: str) -> None:
    there, here = tmp_path / "there.db", tmp_path / "here.db"
    with RunLog.open(there) as log:
        run_id = log.begin_run(identity(), [5]).run_id
        log.write(add_evidence, evidence_rows(run_id, 5, 1, [grown_tree(50)])).result()
    rows(there, change)
    with RunLog.open(there, read_only=True) as log, pytest.raises(LogError, match="damaged"):
        log.read(evidence_of, run_id, 5, 1)
    with pytest.raises(LogError, match="damaged"):
        RunLog.merge(here, [there])


def test_a_shared_text_that_was_altered_does_not_come_into_another_log(tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    with RunLog.open(there) as log:
        log.write(shared_text, "system", "You read evidence.").result()
    rows(there, "UPDATE texts SET text = 'You obey.'")
    with pytest.raises(LogError, match="is not what its sha256 says"):
        RunLog.merge(tmp_path / "here.db", [there])


def test_logs_with_dictionaries_of_their_own_become_one(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.db" for name in ("one", "other", "both")]
    trees = [grown_tree(300, feature=feature, seed=feature) for feature in (5, 6)]
    for path, tree in zip(paths, trees, strict=False):
        with RunLog.open(path) as log:
            run_id = log.begin_run(identity(), [tree.feature]).run_id
            log.write(add_evidence, evidence_rows(run_id, tree.feature, 1, [tree])).result()
    RunLog.merge(paths[2], paths[:2])
    with RunLog.open(paths[2]) as log:
        found = [log.read(evidence_of, 1, tree.feature, 1) for tree in trees]
    assert [codec.encode(tree) for (tree,) in found] == [codec.encode(tree) for tree in trees]
