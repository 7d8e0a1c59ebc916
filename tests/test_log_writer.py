"""A write's future resolves when the write is safe, and never otherwise."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest
from sqlite_utils import Database

from agent.errors import LogError
from agent.log.writer import Writer


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


@pytest.fixture
def db(path: Path) -> Database:
    db = Database(sqlite3.connect(path, check_same_thread=False, timeout=0.05))
    db.execute("CREATE TABLE notes (note TEXT UNIQUE)")
    return db


@pytest.fixture
def writer(db: Database) -> Iterator[Writer]:
    writer = Writer(db, "notes.db")
    yield writer
    writer.close()


def note(text: str) -> Callable[[Database], object]:
    return lambda db: db.execute("INSERT INTO notes VALUES (?)", [text])


def notes(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT note FROM notes ORDER BY rowid").fetchall()
    connection.close()
    return [row[0] for row in rows]


class Held:
    """An action that keeps the writer busy until it is let go."""

    def __init__(self, writer: Writer) -> None:
        self._go, self._holding = threading.Event(), threading.Event()
        writer.submit(self._hold)
        self._holding.wait(5)

    def _hold(self, _: Database) -> None:
        self._holding.set()
        self._go.wait(5)

    def let_go(self) -> None:
        self._go.set()


def test_what_is_waiting_is_committed_together(writer: Writer, db: Database, path: Path) -> None:
    commits: list[str] = []
    db.conn.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    held = Held(writer)
    futures = [writer.submit(note(f"{n}")) for n in range(100)]
    held.let_go()
    for future in futures:
        future.result(5)
    assert len(commits) <= 2
    assert notes(path) == [f"{n}" for n in range(100)]


def test_a_future_resolves_after_the_commit_not_before(writer: Writer, path: Path) -> None:
    seen: list[bool] = []

    def note_if_seen(text: str, _: Future[object]) -> None:
        seen.append(text in notes(path))

    held = Held(writer)
    futures = [writer.submit(note(f"{n}")) for n in range(20)]
    for n, future in enumerate(futures):
        future.add_done_callback(partial(note_if_seen, f"{n}"))
    held.let_go()
    writer.close()
    assert seen == [True] * 20


def test_a_fault_is_its_own_and_ends_the_writing(writer: Writer, path: Path) -> None:
    held = Held(writer)
    before, twice, after = (writer.submit(note(text)) for text in ("a", "a", "b"))
    held.let_go()
    before.result(5)
    after.result(5)
    with pytest.raises(LogError, match="UNIQUE constraint failed"):
        twice.result(5)
    with pytest.raises(LogError, match=r"earlier fault: .*UNIQUE"):
        writer.submit(note("c"))
    assert notes(path) == ["a", "b"]


def test_a_refusal_reaches_only_its_caller(writer: Writer, path: Path) -> None:
    def refuse(db: Database) -> None:
        db.execute("INSERT INTO notes VALUES ('half')")
        raise LogError("Not this one.")

    with pytest.raises(LogError, match="Not this one"):
        writer.submit(refuse).result(5)
    writer.submit(note("next")).result(5)
    assert notes(path) == ["next"]


def test_a_write_cannot_be_cancelled_away(writer: Writer, path: Path) -> None:
    held = Held(writer)
    future = writer.submit(note("paid for"))
    assert not future.cancel()
    held.let_go()
    writer.close()
    assert notes(path) == ["paid for"]


def test_closing_writes_what_is_queued(writer: Writer, path: Path) -> None:
    for n in range(300):
        writer.submit(note(f"{n}"))
    writer.close()
    assert len(notes(path)) == 300
    with pytest.raises(LogError, match="is closed"):
        writer.submit(note("late"))


def test_a_full_disk_fails_the_whole_group_and_keeps_what_was_acknowledged(writer: Writer, path: Path) -> None:
    writer.submit(note("safe")).result(5)
    writer.submit(lambda db: db.execute("PRAGMA max_page_count = 20").fetchone()).result(5)
    held = Held(writer)
    futures = [writer.submit(note(f"{n}" + "x" * 50_000)) for n in range(3)]
    held.let_go()
    acknowledged = [future for future in futures if future.exception(5) is None]
    with pytest.raises(LogError, match="the disk is full"):
        futures[-1].result(5)
    writer.close()
    assert len(notes(path)) == 1 + len(acknowledged)


def test_a_fault_that_takes_the_transaction_down_fails_what_it_took(writer: Writer, path: Path) -> None:
    def break_down(db: Database) -> None:
        db.conn.execute("ROLLBACK")  # as SQLite itself does on a full disk or a failing drive
        raise sqlite3.OperationalError("disk I/O error")

    held = Held(writer)
    futures = {"before": writer.submit(note("before"))}
    broken = writer.submit(break_down)
    futures["after"] = writer.submit(note("after"))
    held.let_go()
    with pytest.raises(LogError, match="disk I/O error"):
        broken.result(5)
    acknowledged = [text for text, future in futures.items() if future.exception(5) is None]
    assert "before" not in acknowledged
    assert notes(path) == acknowledged


def test_a_log_held_by_another_process_fails_the_write_with_a_sentence(writer: Writer, path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogError, match="another process holds it"):
        writer.submit(note("a")).result(5)
    other.close()
    assert notes(path) == []
