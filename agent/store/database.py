"""Opening the log's file: whose is it, can it be written, how does it survive a power cut.

Nothing is written to a file before it is known to be a log of ours, or empty.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from sqlite_utils import Database

from agent.errors import LogError
from agent.store.filesystems import network_filesystem
from agent.store.limits import LONGEST_S, limit_statements
from agent.store.migrations import MIGRATIONS, NAMES
from agent.store.shape import in_order, is_unread, shape_of, strange
from probes.doors import brief
from probes.errors import InterpretError

_BUSY_S = 60.0
"""How long a writer waits for another run's transaction, which takes a fraction of a second."""


def open_writable(path: Path) -> Database:
    """The log at `path` with its tables up to date, made if there is none. Raises `LogError`.

    The connection may be handed to another thread, which then is the only one to use it.
    """
    with log_errors(path):
        _check_place(path)
        _check_ours(path)
        db = _connect(path, "rwc")
        try:
            _make_durable(db, path)
            with immediate(db):
                MIGRATIONS.apply(db)
        except BaseException:
            db.close()
            raise
        return db


def open_readable(path: Path) -> Database:
    """A connection that sees what is committed and changes nothing. Raises `LogError`."""
    # Not mode=ro: such a connection makes the files of a write-ahead log and cannot clear them away again. Without the
    # right to make files here, SQLite reads such a log only when told that nobody writes it.
    sealed = not os.access(path.parent, os.W_OK) and not _write_ahead(path).exists()
    with log_errors(path):
        db = _connect(path, "ro&immutable=1" if sealed else "rw")
        db.execute("PRAGMA query_only=ON")
        limit_statements(db.conn)
        return db


def check_writable(path: Path) -> None:
    """Raises `LogError` where `open_writable` would, as far as that is known before anything is written."""
    with log_errors(path):
        _check_place(path)
        _check_ours(path)


@contextmanager
def one_transaction(path: Path, wait_s: float) -> Iterator[Database]:
    """A connection of its own to an up-to-date log for one short write, also while a run is writing.

    Raises `LogError` where another process's transaction is not over within `wait_s`; nothing is written then.
    """
    with log_errors(path):
        db = _connect(path, "rw", wait_s)
        with closing(db):
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA fullfsync=ON")
            with immediate(db):
                yield db


def check_readable(path: Path) -> None:
    """Raises `LogError` unless `path` is a log that can be read as it stands."""
    with log_errors(path):
        if not path.exists():
            raise LogError(f"There is no log at {path}; run `interpret --features ...` first, or name one with --log.")
        _check_file(path)
        _check_ours(path)
        with closing(open_readable(path)) as db:
            behind = MIGRATIONS.pending(db)
    if behind:
        raise LogError(f"The log {path} is empty or of an older version; run `interpret --features ...` on it first.")


@contextmanager
def open_other(path: Path) -> Iterator[Database]:
    """Another log, to be read as it stands at this moment; one of an older version as an up-to-date temporary copy.

    Raises `LogError` for what is no log or newer than this version. The file itself is never changed.
    """
    with ExitStack() as stack:
        with log_errors(path):
            if not path.exists():
                raise LogError(f"There is no log at {path}; name the file that another run wrote.")
            _check_file(path)
            _check_ours(path)
            db = stack.enter_context(closing(open_readable(path)))
            if not MIGRATIONS.applied(db):
                raise LogError(f"{path} is empty; name the file that another run wrote.")
            if MIGRATIONS.pending(db):
                db = stack.enter_context(_up_to_date(db))
            db.execute("BEGIN")
        yield db


@contextmanager
def _up_to_date(db: Database) -> Iterator[Database]:
    with TemporaryDirectory() as folder, closing(_connect(Path(folder) / "copy.db", "rwc")) as copy:
        db.conn.backup(copy.conn)
        MIGRATIONS.apply(copy)
        yield copy


def journal_note(db: Database, path: Path) -> str | None:
    """A sentence for the user where the usual journal was not possible."""
    if db.journal_mode == "wal":
        return None
    kind = network_filesystem(path) or "this"
    return (
        f"{path} lies on a file system ({kind}) that cannot carry SQLite's write-ahead log: writing is as safe "
        "but slower there, and readers wait for it; a local --log avoids that."
    )


@contextmanager
def immediate(db: Database) -> Iterator[None]:
    """One transaction that holds the write lock from its start, so that what it reads stays true until it commits."""
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


@contextmanager
def log_errors(path: Path) -> Iterator[None]:
    """The log's door: whatever fails in reading it becomes the one sentence that the user needs."""
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
    """`error` in a sentence about a value of the log at `path`."""
    return LogError(
        f"The log {path} cannot be used: a value in it is damaged ({type(error).__name__}: {brief(error)}); restore it "
        "from a copy, or choose another file with --log."
    )


def as_log_error(error: Exception, name: str) -> LogError:
    """`error` in a sentence about the log called `name`."""
    if isinstance(error, LogError):
        return error
    advice = {
        "SQLITE_NOTADB": "it is not a SQLite database; choose another file with --log",
        "SQLITE_CORRUPT": "it is damaged; restore it from a copy, or choose another file with --log",
        "SQLITE_FULL": "the disk is full; make room, then run the same command again",
        "SQLITE_BUSY": "another process holds it; try again when that has ended",
        "SQLITE_READONLY": "it is read-only; choose another file with --log",
        "SQLITE_CANTOPEN": "it cannot be opened here; choose another file with --log",
        "SQLITE_INTERRUPT": f"a question to it took more than {LONGEST_S:.0f} s; it is damaged, or not as it was made",
    }
    no_text = isinstance(error, sqlite3.OperationalError) and "decode to UTF-8" in str(error)
    is_damage = isinstance(error, zlib.error) or no_text
    name_of_code = "SQLITE_CORRUPT" if is_damage else getattr(error, "sqlite_errorname", "")
    code = "_".join(name_of_code.split("_")[:2])  # extended codes append to the plain one
    return LogError(f"The log {name} cannot be used: {advice.get(code) or f'{type(error).__name__}, {error}'}.")


def _check_ours(path: Path) -> None:
    """Raises `LogError` unless `path` is free, empty, or a log that this version knows all tables of."""
    if not path.exists() or path.stat().st_size == 0:
        return
    # What another program has not yet moved from its write-ahead log into its database stays there.
    with closing(_connect(path, "ro") if _write_ahead(path).exists() else open_readable(path)) as db:
        shape = shape_of(db)
        applied = set() if is_unread(shape) else {migration.name for migration in MIGRATIONS.applied(db)}
    if shape and not applied:
        raise LogError(f"{path} is a database of another program; choose another file with --log.")
    if unknown := applied.difference(NAMES):
        raise LogError(
            f"The log {path} was written by a newer version of sae-interpret (it has {min(unknown)}); "
            "update sae-interpret, or choose another file with --log."
        )
    odd = strange(shape, applied) if in_order(applied) else "its list of migrations"
    if shape and odd:  # else it was cut off before it had a table
        raise LogError(
            f"The log {path} cannot be used: {odd} is not as sae-interpret makes it; restore it from a copy, or choose "
            "another file with --log."
        )


def _check_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise LogError(f"The folder {path.parent} of the log does not exist; make it, or choose another with --log.")
    if path.exists():
        _check_file(path)
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.W_OK):
            raise LogError(f"The log cannot be written: no permission for {place}; choose another file with --log.")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise LogError(f"The log {path} is not a file; choose another with --log.")
    if not os.access(path, os.R_OK):
        raise LogError(f"The log {path} cannot be read: no permission; choose another file with --log.")


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


def _write_ahead(path: Path) -> Path:
    return Path(f"{path.resolve()}-wal")


def _make_durable(db: Database, path: Path) -> None:
    """Makes commits durable: what a commit returned for survives a power cut, not only the end of the process."""
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA fullfsync=ON")  # macOS: through the drive's own cache; no effect elsewhere
    wanted = "TRUNCATE" if network_filesystem(path) else "WAL"
    (given,) = db.execute(f"PRAGMA journal_mode={wanted}").fetchone()
    if given not in ("wal", "truncate"):  # SQLite keeps what it had where it cannot do write-ahead logging
        db.execute("PRAGMA journal_mode=TRUNCATE")
