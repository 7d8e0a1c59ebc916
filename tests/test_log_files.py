"""Whose file is it, can it be written, and what is said when not; nothing is touched before that is known."""

import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.errors import LogError
from agent.log import opening
from agent.log.evidence import add_evidence, evidence_of, evidence_rounds, evidence_rows
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from tests.logged import identity, outcome, token_list
from tests.serving import unreleased_log


def a_log(path: Path) -> int:
    """A finished log with one label; the id of its run."""
    with RunLog.open(path) as log:
        run_id = log.begin_run(identity(), [5]).run_id
        log.write(add_label, run_id, outcome(5)).result()
    return run_id


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def folder(path: Path) -> dict[str, bytes]:
    """Names of the files and what is in them; not of `-shm`, memory that readers of a write-ahead log share."""
    files = (file for file in path.iterdir() if file.is_file())
    return {file.name: b"" if file.name.endswith("-shm") else file.read_bytes() for file in files}


def foreign(path: Path) -> None:
    execute(path, "CREATE TABLE birds (name TEXT)", "INSERT INTO birds VALUES ('owl')")


def foreign_with_wal(path: Path) -> None:
    execute(path, "PRAGMA journal_mode=WAL", "CREATE TABLE birds (name TEXT)")


def foreign_cut_off(path: Path) -> None:
    """A database whose writer was killed: what it committed last lies in the write-ahead log only."""
    live = sqlite3.connect(path.with_name("live.db"))
    for statement in ("PRAGMA journal_mode=WAL", "CREATE TABLE birds (name TEXT)", "INSERT INTO birds VALUES ('owl')"):
        live.execute(statement)
    live.commit()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").write_bytes(path.with_name(f"live.db{suffix}").read_bytes())
    live.close()


def foreign_with_migrations(path: Path) -> None:
    execute(path, "CREATE TABLE _sqlite_migrations (name TEXT)", "CREATE TABLE runs (id INTEGER)")


def newer(path: Path) -> None:
    a_log(path)
    execute(path, "PRAGMA user_version = 99", "ALTER TABLE labels ADD COLUMN wings")


def not_a_database(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)


def damaged(path: Path) -> None:
    a_log(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes(4096 - 100) + whole[4096:])


@pytest.mark.parametrize("read_only", [False, True], ids=["to write", "to read"])
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (foreign, "is a database of another program"),
        (foreign_cut_off, "is a database of another program"),
        (foreign_with_wal, "is a database of another program"),
        (foreign_with_migrations, "is a database of another program"),
        (newer, "newer version of sae-interpret .tables 99.; update sae-interpret, or choose another file"),
        (unreleased_log, "before its first release, which this one cannot read; choose another file with --log"),
        (not_a_database, "not a SQLite database"),
        (damaged, "it is damaged"),
        (Path.mkdir, "is not a file"),
    ],
)
def test_a_file_that_is_no_log_is_refused_and_left_as_it_was(
    tmp_path: Path, make: Callable[[Path], None], said: str, read_only: bool
) -> None:
    path = tmp_path / "other.db"
    make(path)
    before = folder(tmp_path)
    with pytest.raises(LogError, match=said) as refusal:
        RunLog.open(path, read_only)
    assert folder(tmp_path) == before
    assert str(path) in str(refusal.value)
    assert str(refusal.value).endswith(".")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("none/interpret.db", "folder .*none of the log does not exist"), ("x" * 300, "cannot be used: .*too long")],
)
def test_an_impossible_path_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(LogError, match=said):
        RunLog.open(tmp_path / name)


def test_a_place_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, _mode: Path(path) != tmp_path)
    with pytest.raises(LogError, match="no permission for"):
        RunLog.open(tmp_path / "interpret.db")
    assert folder(tmp_path) == {}


def test_reading_needs_a_log(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="There is no log at"):
        RunLog.open(tmp_path / "interpret.db", read_only=True)
    (tmp_path / "empty.db").touch()
    with pytest.raises(LogError, match="is empty; run"):
        RunLog.open(tmp_path / "empty.db", read_only=True)
    assert folder(tmp_path) == {"empty.db": b""}


def test_an_empty_file_becomes_a_log(tmp_path: Path) -> None:
    (tmp_path / "interpret.db").touch()
    assert a_log(tmp_path / "interpret.db") == 1


def test_a_name_with_url_characters_is_only_a_name(tmp_path: Path) -> None:
    a_log(tmp_path / "50% of a?mode=memory#x.db")
    assert "50% of a?mode=memory#x.db" in folder(tmp_path)


def test_a_closed_log_is_one_file_and_a_lock(tmp_path: Path) -> None:
    a_log(tmp_path / "interpret.db")
    assert set(folder(tmp_path)) == {"interpret.db", "interpret.db.run1.lock"}


def test_reading_leaves_everything_as_it_was(tmp_path: Path) -> None:
    run_id = a_log(tmp_path / "interpret.db")
    before = folder(tmp_path)
    with RunLog.open(tmp_path / "interpret.db", read_only=True) as log:
        assert len(log.read(labels_of, run_id)) == 1
        with pytest.raises(LogError, match="reading only"):
            log.write(add_label, run_id, outcome(6))
    assert folder(tmp_path) == before


def test_a_log_in_a_folder_that_cannot_be_written_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = a_log(tmp_path / "interpret.db")
    monkeypatch.setattr("os.access", lambda _path, mode: mode != os.W_OK)
    opened: list[str] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def watched(address: str, **options: Any) -> sqlite3.Connection:
        opened.append(address)
        return connect(address, **options)

    monkeypatch.setattr(sqlite3, "connect", watched)
    with RunLog.open(tmp_path / "interpret.db", read_only=True) as log:
        assert len(log.read(labels_of, run_id)) == 1
    assert opened
    assert all(address.endswith("immutable=1") for address in opened)


def test_a_live_log_is_read_while_it_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "interpret.db"
    run_id = a_log(path)
    with RunLog.open(path):
        writer = sqlite3.connect(path)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE labels SET label = 'half written'")
        with RunLog.open(path, read_only=True) as log:
            assert [row.label for row in log.read(labels_of, run_id)] == ["dogs"]
        writer.close()


def test_damage_that_shows_only_on_reading_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "interpret.db"
    run_id = a_log(path)
    with RunLog.open(path) as log:
        log.write(add_evidence, evidence_rows(run_id, 5, 1, [token_list(" dog")])).result()
    execute(path, "UPDATE evidence SET payload = substr(payload, 1, 8)")
    with RunLog.open(path, read_only=True) as log, pytest.raises(LogError, match="it is damaged"):
        log.read(evidence_of, run_id, 5, 1)


def test_many_may_make_the_same_log_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        logs = list(pool.map(RunLog.open, [tmp_path / "interpret.db"] * 8))
    for log in logs:
        log.close()
    assert a_log(tmp_path / "interpret.db") == 1


def test_a_local_log_survives_power_cuts(tmp_path: Path) -> None:
    db = opening.open_writable(tmp_path / "interpret.db")
    assert db.journal_mode == "wal"
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert opening.journal_note(db, tmp_path) is None
    db.close()


def test_a_network_file_system_gets_another_journal_and_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = a_log(tmp_path / "interpret.db")
    monkeypatch.setattr(opening, "network_filesystem", lambda _path: "nfs4")
    with RunLog.open(tmp_path / "interpret.db") as log:
        assert log.journal_note is not None
        assert "(nfs4) that cannot carry" in log.journal_note
        log.write(add_label, run_id, outcome(6)).result()
        assert len(log.read(labels_of, run_id)) == 2
        assert "interpret.db-wal" not in folder(tmp_path)
        assert "interpret.db-journal" in folder(tmp_path)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/home/me/interpret.db", "nfs4"),
        ("/home/local/interpret.db", None),
        ("/homes/interpret.db", None),
        ("/mnt/far/interpret.db", "fuse.sshfs"),
        ("/mnt/disk/interpret.db", None),
        ("/scratch/interpret.db", "lustre"),
        ("/twice/interpret.db", "cifs"),
    ],
)
def test_the_innermost_mount_decides(path: str, found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = {"/": "ext4", "/home": "nfs4", "/home/local": "ext4", "/mnt/far": "fuse.sshfs", "/mnt/disk": "fuseblk"}
    table = [*mounts.items(), ("/scratch", "lustre"), ("/twice", "autofs"), ("/twice", "CIFS")]
    partitions = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in table]
    monkeypatch.setattr("psutil.disk_partitions", lambda **_: partitions)
    assert opening.network_filesystem(Path(path)) == found


def test_a_log_cut_off_before_it_had_a_table_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "cut.db"
    execute(path, "PRAGMA journal_mode=WAL", "PRAGMA user_version=0")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE gone (x)")
        connection.execute("DROP TABLE gone")
    assert path.stat().st_size > 0
    assert a_log(path) == 1


@pytest.mark.parametrize(
    ("statements", "odd"),
    [
        (("ALTER TABLE labels RENAME TO l0", "CREATE VIEW labels AS SELECT * FROM l0"), "the table labels"),
        (("DROP VIEW standing_reviews", "CREATE TABLE standing_reviews (id, undoes)"), "the view standing_reviews"),
        (("CREATE TRIGGER evil AFTER INSERT ON labels BEGIN DELETE FROM runs; END",), "the trigger evil"),
        (("ALTER TABLE runs ADD COLUMN slow TEXT AS (zeroblob(999999999)) VIRTUAL",), "the table runs"),
        (("DROP TABLE classes", "CREATE VIRTUAL TABLE classes USING fts5(kind)"), "the table classes"),
        (("DROP TRIGGER labels_ai",), "the trigger labels_ai"),
        (("ALTER TABLE scores DROP COLUMN extra",), "the table scores"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True], ids=["to write", "to read"])
def test_tables_that_are_not_as_they_were_made_are_refused(
    tmp_path: Path, statements: Sequence[str], odd: str, read_only: bool
) -> None:
    path = tmp_path / "other.db"
    a_log(path)
    execute(path, "PRAGMA legacy_alter_table=ON", *statements)
    for use in (lambda: RunLog.open(path, read_only), lambda: RunLog.merge(tmp_path / "target.db", [path])):
        with pytest.raises(LogError, match=f"cannot be used: {odd} is not as sae-interpret makes it"):
            use()
    assert not (tmp_path / "target.db").exists()


def test_views_and_tables_of_the_users_own_are_let_be(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    a_log(path)
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    execute(path, f"CREATE VIEW mine AS {endless}", "CREATE TABLE notes (note)", "CREATE INDEX i ON labels (created)")
    with RunLog.open(path) as log:
        assert len(log.read(labels_of, 1)) == 1
    assert RunLog.merge(tmp_path / "target.db", [path])[0].added["labels"] == 1


def test_a_statement_that_goes_on_for_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "slow.db"
    a_log(path)
    monkeypatch.setattr(opening, "LONGEST_S", 0.1)
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    with RunLog.open(path, read_only=True) as log:
        with pytest.raises(LogError, match="a query on it took more than"):
            log.read(lambda db: db.execute(endless).fetchall())
        assert len(log.read(labels_of, 1)) == 1, "each statement has its own time"


def test_a_number_that_no_log_holds_is_a_sentence(tmp_path: Path) -> None:
    a_log(tmp_path / "log.db")
    with RunLog.open(tmp_path / "log.db", read_only=True) as log:
        for ask in (lambda: log.read(chosen_run, 10**19), lambda: log.read(evidence_rounds, 1, 10**19)):
            with pytest.raises(LogError, match=r"nothing under a number of 2\*\*63 or more"):
                ask()
