"""Opening the log's file: whose is it, can it be written, how does it survive a power cut.

Nothing is written to a file before it is known to be a log of ours, or empty.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
from sqlite_utils import Database

from agent.errors import LogError
from agent.log.schema import fault_of, make_tables, shape_of
from probes.doors import brief
from probes.errors import InterpretError

LONGEST_S = 30.0
"""Of a statement that reads: one that goes on for longer is not one that a log needs; the slowest page over 100,000
labels takes a second."""
_STEPS = 100_000
"""Of SQLite's virtual machine between two looks at the clock, some milliseconds."""
_BUSY_S = 60.0
"""How long a writer waits for another run's transaction, which takes a fraction of a second."""
_PAGE_BYTES = 16_384
"""Of the file: rows of evidence take some 2 kB, with which SQLite's own 4 kB pages are a quarter empty."""
_NETWORK = {
    *("afpfs", "cifs", "nfs", "nfs3", "nfs4", "smb", "smb2", "smb3", "smbfs", "webdav"),
    *("afs", "beegfs", "ceph", "fhgfs", "glusterfs", "gpfs", "lustre", "orangefs", "panfs", "pvfs2", "wekafs"),
    *("davfs", "gcsfuse", "goofys", "juicefs", "ncpfs", "rclone", "s3fs", "sshfs"),
    *("9p", "vboxsf"),
}
"""File systems as the table of mounts names them; `fuse.X` counts where X does."""
_ADVICE = {
    "SQLITE_NOTADB": "it is not a SQLite database; choose another file with --log",
    "SQLITE_CORRUPT": "it is damaged; restore it from a copy, or choose another file with --log",
    "SQLITE_FULL": "the disk is full; make room, then run the same command again",
    "SQLITE_BUSY": "another process holds it; try again when that has ended",
    "SQLITE_READONLY": "it is read-only; choose another file with --log",
    "SQLITE_CANTOPEN": "it cannot be opened here; choose another file with --log",
    "SQLITE_INTERRUPT": f"a query on it took more than {LONGEST_S:.0f} s; it is damaged or was altered",
}


def open_writable(path: Path) -> Database:
    """Opens the log at `path`, made if there is none. Raises `LogError`.

    The connection may be handed to another thread, which then is the only one to use it.
    """
    check_writable(path)
    with log_errors(path):
        db = _connect(path, "rwc")
        try:
            _make_durable(db, path)
            with immediate(db):
                if not shape_of(db):
                    make_tables(db)
        except BaseException:
            db.close()
            raise
        return db


def open_readable(path: Path) -> Database:
    """Opens a connection that sees what is committed and changes nothing. Raises `LogError`."""
    # Not mode=ro: such a connection makes the files of a write-ahead log and cannot clear them away again. Without the
    # right to make files here, SQLite reads such a log only when told that nobody writes it.
    sealed = not os.access(path.parent, os.W_OK) and not _write_ahead(path).exists()
    with log_errors(path):
        db = _connect(path, "ro&immutable=1" if sealed else "rw")
        db.execute("PRAGMA query_only=ON")
        _limit_statements(db.conn)
        return db


def check_writable(path: Path) -> None:
    """Raises `LogError` where `open_writable` would, as far as that is known before anything is written."""
    with log_errors(path):
        if not path.parent.is_dir():
            raise LogError(
                f"The folder {path.parent} of the log does not exist; make it, or choose another with --log."
            )
        if path.exists():
            _check_file(path)
        for place in (path.parent, path):
            if place.exists() and not os.access(place, os.W_OK):
                raise LogError(f"The log cannot be written: no permission for {place}; choose another file with --log.")
        _check_ours(path)


def check_readable(path: Path) -> None:
    """Raises `LogError` unless `path` is a log that can be read as it stands."""
    with log_errors(path):
        if not path.exists():
            raise LogError(
                f"There is no log at {path}; run `interpret --features ...` first, or name another with --log."
            )
        _check_file(path)
        if not _check_ours(path):
            raise LogError(
                f"The log {path} is empty; run `interpret --features ...` on it first, or name another with --log."
            )


@contextmanager
def one_transaction(path: Path, wait_s: float) -> Iterator[Database]:
    """Opens a connection of its own for one short write, also while a run is writing.

    Raises `LogError` where another process's transaction is not over within `wait_s`; nothing is written then.
    """
    with log_errors(path), closing(_connect(path, "rw", wait_s)) as db:
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA fullfsync=ON")
        with immediate(db):
            yield db


@contextmanager
def snapshot(path: Path) -> Iterator[Database]:
    """Opens another log, to be read as it stands at this moment. Raises `LogError`; the file is never changed."""
    check_readable(path)
    with closing(open_readable(path)) as db:
        with log_errors(path):
            db.execute("BEGIN")
        yield db


def journal_note(db: Database, path: Path) -> str | None:
    """Returns a sentence for the user where the usual journal was not possible."""
    if db.journal_mode == "wal":
        return None
    kind = network_filesystem(path) or "this"
    return (
        f"{path} lies on a file system ({kind}) that cannot carry SQLite's write-ahead log: writing is as safe "
        "but slower there, and readers wait for it; a local --log avoids that."
    )


def network_filesystem(path: Path) -> str | None:
    """Returns the type of the network file system that holds `path`, or None if it lies on a local one.

    Users of SQLite's write-ahead log share memory, so must share a machine.
    """
    place = path.resolve()
    mounts = [mount for mount in psutil.disk_partitions(all=True) if place.is_relative_to(mount.mountpoint)]
    # The innermost mount above the path; of several on one point the last mounted is the one seen.
    kind = max(reversed(mounts), key=lambda mount: len(mount.mountpoint)).fstype.lower() if mounts else ""
    return kind if kind.removeprefix("fuse.") in _NETWORK else None


@contextmanager
def immediate(db: Database) -> Iterator[None]:
    """Holds the write lock for one transaction from its start, so that what it reads stays true until it commits."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


@contextmanager
def log_errors(path: Path) -> Iterator[None]:
    """Turns whatever fails in reading the log into the one sentence that the user needs."""
    try:
        yield
    except InterpretError:
        raise
    except (sqlite3.Error, OSError, zlib.error) as error:
        raise as_log_error(error, str(path)) from error
    except OverflowError as error:  # of the question, or of what is made of the answer
        raise LogError(f"The log {path} has nothing under a number of 2**63 or more: {brief(error)}.") from error
    except Exception as error:  # what is made of a row, by whatever raises where a value is none
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> LogError:
    """Makes `error` a sentence about a value of the log at `path`."""
    return LogError(
        f"The log {path} cannot be used: a value in it is damaged ({type(error).__name__}: {brief(error)}); restore it "
        "from a copy, or choose another file with --log."
    )


def as_log_error(error: Exception, name: str) -> LogError:
    """Makes `error` a sentence about the log called `name`."""
    if isinstance(error, LogError):
        return error
    no_text = isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)
    is_damage = isinstance(error, zlib.error) or no_text
    name_of_code = "SQLITE_CORRUPT" if is_damage else getattr(error, "sqlite_errorname", "")
    code = "_".join(name_of_code.split("_")[:2])  # extended codes append to the plain one
    return LogError(f"The log {name} cannot be used: {_ADVICE.get(code) or f'{type(error).__name__}, {error}'}.")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise LogError(f"The log {path} is not a file; choose another with --log.")
    if not os.access(path, os.R_OK):
        raise LogError(f"The log {path} cannot be read: no permission; choose another file with --log.")


def _check_ours(path: Path) -> bool:
    """Raises `LogError` unless `path` is free, empty, or a log of this version. Tells whether it has tables."""
    if not path.exists() or path.stat().st_size == 0:
        return False
    # What another program has not yet moved from its write-ahead log into its database stays there.
    with closing(_connect(path, "ro") if _write_ahead(path).exists() else open_readable(path)) as db:
        if fault := fault_of(db):
            raise LogError(f"The log {path} {fault}.")
        return bool(shape_of(db))


def _connect(path: Path, mode: str, wait_s: float = _BUSY_S) -> Database:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=wait_s, check_same_thread=False)
    try:
        db = Database(connection, execute_plugins=False)
        db.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return db


def _limit_statements(connection: sqlite3.Connection) -> None:
    """Ends each statement of the connection that goes on for too long, with sqlite3.OperationalError, interrupted."""
    ends = monotonic() + LONGEST_S

    def begun(_statement: str) -> None:
        nonlocal ends
        ends = monotonic() + LONGEST_S

    connection.set_trace_callback(begun)
    connection.set_progress_handler(lambda: monotonic() > ends, _STEPS)


def _write_ahead(path: Path) -> Path:
    return Path(f"{path.resolve()}-wal")


def _make_durable(db: Database, path: Path) -> None:
    """Makes commits durable: what a commit returned for survives a power cut, not only the end of the process."""
    db.execute(f"PRAGMA page_size={_PAGE_BYTES}")  # of a new file; a log that is there keeps its own
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA fullfsync=ON")  # macOS: through the drive's own cache; no effect elsewhere
    wanted = "TRUNCATE" if network_filesystem(path) else "WAL"
    (given,) = db.execute(f"PRAGMA journal_mode={wanted}").fetchone()
    if given not in ("wal", "truncate"):  # SQLite keeps what it had where it cannot do write-ahead logging
        db.execute("PRAGMA journal_mode=TRUNCATE")
