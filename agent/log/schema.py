"""The tables of the log, and whether a database has them as `schema.sql` makes them.

A view in the place of a table, a trigger, a virtual table or a computed column is a statement of another's: it may say
something else than what was logged, and it may never end. Tables, views and plain indexes that are not ours are let be,
since nothing reads them.
"""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlite_utils import Database

Shape = Mapping[str, tuple[str, str]]
"""By name of a table, view, index or trigger: its type, and the statement that made it without what does not matter."""

_SQL = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
_OTHER = "choose another file with --log"
_SEARCH = "_fts"
"""Tables of search indexes have names that begin with the index's; how SQLite lays them out is its own affair."""
_QUOTES_AND_SPACE = re.compile(r"--[^\n]*|[\s\"'`\[\]]+")
_BEFORE_RELEASE = {"_sqlite_migrations", "runs", "labels"}
"""Tables that logs of every version had that was never released."""


def make_tables(db: Database) -> None:
    """Makes the tables; part of a transaction that it does not end."""
    for statement in _statements(_SQL):
        db.execute(statement)


def shape_of(db: Database) -> Shape:
    """Returns the database's schema as it states it; runs nothing that is in it."""
    made = db.execute("SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: (kind, _QUOTES_AND_SPACE.sub("", sql).lower()) for name, kind, sql in made}


def fault_of(db: Database) -> str | None:
    """Says why a database is no log that this version can use, and what to do; None for a log, or an empty database."""
    shape = shape_of(db)
    if not shape:  # new, or cut off before it had a table
        return None
    (ours, version), (owner, number) = _expected().marks, _marks(db)
    if number < version if owner == ours else shape.keys() >= _BEFORE_RELEASE:
        return (
            f"was written by a version of sae-interpret before its first release, which this one cannot read; {_OTHER}"
        )
    if owner != ours:
        return f"is a database of another program; {_OTHER}"
    if number > version:
        return f"was written by a newer version of sae-interpret (tables {number}); update sae-interpret, or {_OTHER}"
    odd = _strange(shape)
    return odd and f"cannot be used: {odd} is not as sae-interpret makes it; restore it from a copy, or {_OTHER}"


def tables() -> Sequence[str]:
    """Returns the tables that hold rows of their own, each below those that it refers to."""
    return _expected().tables


def references(db: Database, table: str) -> dict[str, str]:
    """Returns each column of `table` that refers to another table's id, with that table's name."""
    return {column: referred for _, _, referred, column, *_ in db.execute(f"PRAGMA foreign_key_list({table})")}


def columns(db: Database, table: str) -> dict[str, str]:
    """Returns the columns of `table` that hold what was written to them, none that are computed, with their types."""
    return {column: kind for _, column, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall()}


def natural_key(db: Database, table: str) -> list[str]:
    """Returns the columns of the table's first uniqueness constraint, or all but its id where there is none."""
    for _, index, unique, origin, _ in db.execute(f"PRAGMA index_list({table})").fetchall():
        if unique and origin == "u":
            return [column for _, _, column in db.execute(f"PRAGMA index_info('{index}')").fetchall()]
    return [column for column in columns(db, table) if column != "id"]


def _statements(script: str) -> Iterator[str]:
    """Splits a script: sqlite3's own way of running one would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def _strange(shape: Shape) -> str | None:
    """Returns the name of something that is not as this version makes it; None if all is well."""
    expected = _expected().shape
    triggers = {name for name, (kind, _) in shape.items() if kind == "trigger"}
    if unknown := triggers - expected.keys():
        return f"the trigger {min(unknown)}"
    names = (name for name, made in expected.items() if not _is_as_made(name, made, shape.get(name, ("", ""))))
    return next((f"the {expected[name][0]} {name}" for name in names), None)


def _is_as_made(name: str, made: tuple[str, str], found: tuple[str, str]) -> bool:
    if _SEARCH in name and made[0] == "table" and not made[1].startswith("createvirtual"):
        return found[0] == made[0] and not found[1].startswith("createvirtual")
    return made == found


def _marks(db: Database) -> tuple[int, int]:
    """Returns the program that a database says it is of, and the version of its tables."""
    return db.execute("PRAGMA application_id").fetchone()[0], db.execute("PRAGMA user_version").fetchone()[0]


@dataclass(frozen=True)
class _NewLog:
    """A new log, as far as others are measured by it."""

    shape: Shape
    marks: tuple[int, int]
    tables: Sequence[str]


@cache
def _expected() -> _NewLog:
    with closing(sqlite3.connect(":memory:")) as connection:
        db = Database(connection, execute_plugins=False)
        make_tables(db)
        made = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid").fetchall()
        return _NewLog(shape_of(db), _marks(db), [name for (name,) in made if _SEARCH not in name])
