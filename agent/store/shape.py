"""Checks that a log's tables are those that the migrations make, so that reading it runs nobody else's statements.

A view in the place of a table, a trigger, a virtual table or a computed column is a statement of another's: it may say
something else than what was logged, and it may never end. Tables, views and plain indexes that are not ours are let be,
since nothing reads them.
"""

import re
import sqlite3
from collections.abc import Collection, Mapping
from functools import cache

from sqlite_utils import Database

from agent.store.migrations import MIGRATIONS, NAMES

Shape = Mapping[str, tuple[str, str]]
"""By name of a table, view, index or trigger: its type, and the statement that made it without what does not matter."""

_APPLIED = MIGRATIONS.migrations_table
_SEARCH = "_fts"
"""Tables of search indexes have names that begin with the index's; how SQLite lays them out is its own affair."""
_QUOTES_AND_SPACE = re.compile(r"--[^\n]*|[\s\"'`\[\]]+")


def shape_of(db: Database) -> Shape:
    """Returns the database's schema as it states it; runs nothing that is in it."""
    made = db.execute("SELECT name, type, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: (kind, _QUOTES_AND_SPACE.sub("", sql).lower()) for name, kind, sql in made}


def is_unread(shape: Shape) -> bool:
    """Tells whether there is no table of migrations, or something else in its place: then it is no log of ours."""
    kind, sql = shape.get(_APPLIED, ("", ""))
    return kind != "table" or not sql.startswith("createtable") or "generatedalways" in sql or ")as(" in sql


def strange(shape: Shape, applied: Collection[str]) -> str | None:
    """Returns the name of something that is not as the migrations `applied` so far make it; None if all is well."""
    expected = _expected(len(applied))
    triggers = {name for name, (kind, _) in shape.items() if kind == "trigger"}
    if unknown := triggers - expected.keys():
        return f"the trigger {min(unknown)}"
    names = (name for name, made in expected.items() if not _is_as_made(name, made, shape.get(name, ("", ""))))
    return next((f"the {expected[name][0]} {name}" for name in names), None)


def _is_as_made(name: str, made: tuple[str, str], found: tuple[str, str]) -> bool:
    (kind, sql), (kind_found, sql_found) = made, found
    if name == _APPLIED:
        return True  # as `is_unread` looks at it; other versions of sqlite-utils make it in other words
    if _SEARCH in name and kind == "table" and not sql.startswith("createvirtual"):
        return kind_found == kind and not sql_found.startswith("createvirtual")
    return made == found


def in_order(applied: Collection[str]) -> bool:
    """Tells whether the migrations are the first ones, none left out."""
    return set(applied) == {*[*NAMES][: len(applied)]}


@cache
def _expected(n_applied: int) -> Shape:
    """The shape of a log with the first so many migrations."""
    connection = sqlite3.connect(":memory:")
    try:
        db = Database(connection, execute_plugins=False)
        MIGRATIONS.apply(db, stop_before=[*NAMES][n_applied:])
        return shape_of(db)
    finally:
        connection.close()
