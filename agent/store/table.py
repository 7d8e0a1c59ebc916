"""Plain statements on any table, texts escaped on the way in and as they were on the way out."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlite_utils import Database

from agent.store.escape import escape, unescape

Row = Mapping[str, Any]

LATEST = "max(created || printf(' %020d', id))"
"""In a query that groups: SQLite takes the other columns from the latest row, of one millisecond the one written last.

Never by number alone: rows of an imported log are numbered behind those of here, however old they are."""


# Plain statements rather than sqlite-utils' insert, which asks the schema about each row: this is the hot path.
def insert(db: Database, table: str, row: Row) -> int:
    """The new row's id."""
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    cursor = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", _storable(row))
    return int(cursor.lastrowid)


def update(db: Database, table: str, row: Row, where: Row) -> int:
    """Number of rows that were changed."""
    changes = ", ".join(f"{column} = ?" for column in row)
    conditions = " AND ".join(f"{column} = ?" for column in where)
    cursor = db.execute(f"UPDATE {table} SET {changes} WHERE {conditions}", [*_storable(row), *_storable(where)])
    return int(cursor.rowcount)


def rows(db: Database, sql: str, values: Row) -> Iterator[dict[str, Any]]:
    """The rows, read to the end before the first is given out."""
    found = list(db.query(sql, dict(values)))
    return (
        {name: unescape(value) if isinstance(value, str) else value for name, value in row.items()} for row in found
    )


def _storable(row: Row) -> list[Any]:
    return [escape(value) if isinstance(value, str) else value for value in row.values()]
