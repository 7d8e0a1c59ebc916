"""Values into rows and rows into values, on any table.

SQLite's text is UTF-8, which has no lone surrogates (a byte-level tokenizer's half of an emoji decodes to one), and
most tools cut a text at its first NUL. Both are written as ␛ and four hex digits, and so is ␛ itself; all else is left
as it is.
"""

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from sqlite_utils import Database
from typing_extensions import TypedDict

Row = Mapping[str, Any]
Made = TypeVar("Made")

LATEST = "max(created || printf(' %020d', id))"
"""In a query that groups: SQLite takes the other columns from the latest row, of one millisecond the one written last.

Never by number alone: rows of an imported log are numbered behind those of here, however old they are."""

_MARK = "\N{SYMBOL FOR ESCAPE}"
_UNSTORABLE = re.compile(f"[\0\ud800-\udfff{_MARK}]")
_ESCAPED = re.compile(f"{_MARK}([0-9a-f]{{4}})")
_MAX_BYTES = 1 << 28
"""That a payload may hold unpacked; the largest tree that was ever logged has a thousandth of that."""
_MAX_FEATURES = 1 << 26
_LEVEL = 6
"""Of zlib: 9 takes twice as long for 1 % less, 3 half as long for 7 % more."""
_TYPED: Any = TypedDict
"""Called with names that are found out, which type checkers do not follow."""


def escape(text: str) -> str:
    """Writes `text` without lone surrogates and NULs."""
    if text.isascii() and "\0" not in text:  # as nearly every text, and a tenth of the time
        return text
    return _UNSTORABLE.sub(lambda match: f"{_MARK}{ord(match[0]):04x}", text)


def unescape(stored: str) -> str:
    """Returns the text that `escape` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), stored) if _MARK in stored else stored


# Plain statements rather than sqlite-utils' insert, which asks the schema about each row: this is the hot path.
def insert(db: Database, table: str, row: Row) -> int:
    """Adds a row and returns its id."""
    columns, places = ", ".join(row), ", ".join("?" * len(row))
    cursor = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", _storable(row))
    return int(cursor.lastrowid)


def update(db: Database, table: str, row: Row, where: Row) -> int:
    """Changes rows and returns how many."""
    changes = ", ".join(f"{column} = ?" for column in row)
    cursor = db.execute(f"UPDATE {table} SET {changes} WHERE {_equal(where)}", [*_storable(row), *_storable(where)])
    return int(cursor.rowcount)


def replace(db: Database, table: str, key: Row, row: Row) -> None:
    """Adds a row in the place of those that have the `key`, which is a part of it."""
    db.execute(f"DELETE FROM {table} WHERE {_equal(key)}", _storable(key))
    insert(db, table, {**key, **row})


def find_id(db: Database, table: str, key: Row) -> int | None:
    """Returns the id of the row with that key, if there is one."""
    found = db.execute(f"SELECT id FROM {table} WHERE {_equal(key)}", _storable(key)).fetchone()
    return None if found is None else int(found[0])


def select(db: Database, sql: str, **values: Any) -> Iterator[dict[str, Any]]:
    """Returns the rows of a query by column, read to the end before the first is given out."""
    found = list(db.query(sql, values))
    return ({name: unescape(cell) if isinstance(cell, str) else cell for name, cell in row.items()} for row in found)


def first(db: Database, sql: str, **values: Any) -> dict[str, Any] | None:
    """Returns the first row of a query, if it has any."""
    return next(select(db, sql, **values), None)


def some(values: Iterable[Any]) -> str:
    """Writes a set of values as one value of a query, for `IN (SELECT value FROM json_each(:name))`."""
    return json.dumps([*values])


def made(kind: type[Made], values: Row) -> Made:
    """Makes the dataclass `kind`, every field of the type that is declared: a log may come from anywhere.

    Raises ValueError, of which field and value.
    """
    which: Any = kind
    try:
        found = _adapter(which).validate_python(dict(values))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise ValueError(f"{place}={fault['input']!r:.80}, {fault['msg']}") from None
    return kind(**found)


def packed(value: Any) -> bytes:
    """Compresses a value as JSON."""
    return compressed(json.dumps(value, separators=(",", ":")))


def unpacked(payload: bytes) -> Any:
    """Returns the value that `packed` was given. Raises zlib.error or ValueError."""
    return json.loads(decompressed(payload))


def compressed(text: str, dictionary: str = "") -> bytes:
    """Compresses a text by what it has in common with `dictionary`, a text that zlib has seen already."""
    packing = zlib.compressobj(_LEVEL, zdict=escape(dictionary).encode())
    return packing.compress(escape(text).encode()) + packing.flush()


def decompressed(payload: bytes, dictionary: str = "") -> str:
    """Returns the text that `compressed` was given, with the same dictionary. Raises zlib.error or ValueError."""
    if not isinstance(payload, bytes):
        raise ValueError(f"{payload!r:.80} is no compressed text")
    unpacking = zlib.decompressobj(zdict=escape(dictionary).encode())
    found = unpacking.decompress(payload, _MAX_BYTES)
    if not unpacking.eof:
        raise ValueError("a compressed text is cut off, or larger than any that is ever logged")
    return unescape(found.decode())


def as_ranges(features: Iterable[int]) -> str:
    """Writes `features` in rising order, each once, runs of neighbours as `first-last`: `0-500,503`."""
    ordered = sorted(set(features))
    neighbours = groupby(enumerate(ordered), key=lambda place: place[1] - place[0])
    spans = [[feature for _, feature in group] for _, group in neighbours]
    return ",".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}" for span in spans)


def from_ranges(text: str) -> frozenset[int]:
    """Returns the set that `as_ranges` was given. Raises ValueError for another text."""
    spans = [span.partition("-") for span in text.split(",") if span]
    ranges = [range(int(start), int(last or start) + 1) for start, _, last in spans]
    if sum(map(len, ranges)) > _MAX_FEATURES:
        raise ValueError(f"features={text!r:.80} are more than any SAE has")
    return frozenset(feature for one in ranges for feature in one)


def now() -> str:
    """Returns the time, UTC, to the millisecond, in a form that sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def file_of(db: Database) -> Path:
    """Returns the file of a database."""
    return Path(db.execute("PRAGMA database_list").fetchone()[2])


def _equal(key: Row) -> str:
    return " AND ".join(f"{column} IS ?" for column in key)


def _storable(row: Row) -> list[Any]:
    return [escape(value) if isinstance(value, str) else value for value in row.values()]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    hints = get_type_hints(kind)
    shape = _TYPED(kind.__name__, {field.name: hints[field.name] for field in fields(kind)}, total=False)
    shape.__pydantic_config__ = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    return TypeAdapter(shape)
