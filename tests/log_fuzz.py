"""Logs with one value damaged, and what commands and pages make of them: pieces of the fuzz test of the log's door."""

import io
import json
import shutil
import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from sqlite_utils import Database
from starlette.testclient import TestClient

from agent.cli import main
from agent.log.run_log import RunLog
from agent.log.schema import columns, tables
from agent.web.server import make_app
from tests.serving import ORIGIN, TOKEN

NOT_FORESEEN = "an unexpected error occurred"

ODD = [
    *(None, 0, -1, 1, 7, 2**63 - 1, -(2**63), 0.5, -0.5, 1e308, float("inf")),
    *("", "x", "7", "null", "{}", "[]", "[7]", "{", "[[[[", '{"a": 1}', "\0", "␛d83d", "2026", "0-99999999999"),
    *("9" * 400, "🦉" * 50, b"", b"\xff", b"\0" * 40, *map(zlib.compress, (b"{}", b"[]", b"7", b"{"))),
]
_NUMBERS = (0, -1, 7, 10**30, 0.5, float("nan"), float("inf"))
ODD_JSON: list[Any] = [None, True, *_NUMBERS, "", "x", [], {}, [7], {"a": 1}, [[]]]
NO_TEXT = object()
"""Stands for bytes that are no UTF-8, stored as a text."""

COMMANDS: Sequence[tuple[str, ...]] = (
    ("log",),
    ("log", "--json"),
    ("log", "1"),
    ("log", "1", "--json", "--score", "embedding", "--sort", "confidence"),
    ("log", "1", "--search", "a", "--reviewed", "accept"),
    ("show", "11"),
    ("show", "12", "--run", "1"),
    ("show", "11", "--run", "2", "--rank", "lift"),
    ("export", "1", "--to", "out.csv", "--reviewed"),
    ("export", "1", "--to", "out.jsonl"),
    ("export", "1", "--to", "out.html"),
    ("replay", "1"),
    ("compare", "--runs", "1,2"),
    ("import", "{log}", "--log", "into.db"),
)
PAGES = (
    *("/", "/runs", "/runs/1", "/runs/1/progress", "/runs/1/labels", "/runs/1/labels?search=a&sort=-confidence"),
    *("/runs/1/labels?score=1-embedding&sort=score", "/runs/1/features/11", "/runs/2/features/11"),
    *("/runs/1/features/11/trees/1/0.json", "/compare", "/compare/1/features/11", "/compare/1/features/11/tree.json"),
)


@st.composite
def damage(draw: st.DrawFn, base: Path) -> tuple[str, int, str, Any]:
    """A table, a row of it, one of its columns, and another value for that."""
    with closing(sqlite3.connect(base)) as connection:
        db = Database(connection)
        sized = {table: db[table].count for table in tables()}
        table = draw(st.sampled_from([table for table, n in sized.items() if n]))
        column = draw(st.sampled_from([*columns(db, table)]))
        place = draw(st.integers(0, sized[table] - 1))
        sql = f"SELECT rowid, {column} FROM {table} ORDER BY rowid LIMIT 1 OFFSET {place}"
        row, value = connection.execute(sql).fetchone()
    how = draw(st.sampled_from(("odd", "inside", "inside", "byte", "no text")))
    if how == "no text":
        return table, row, column, NO_TEXT
    if how == "inside" and (found := _parsed(value)) is not None:
        return table, row, column, _stored(draw(_otherwise(found)), value)
    if how == "byte" and isinstance(value, str | bytes) and value:
        at, to = draw(st.integers(0, len(value) - 1)), draw(st.integers(0, 127))
        return table, row, column, value[:at] + (chr(to) if isinstance(value, str) else bytes([to])) + value[at + 1 :]
    return table, row, column, draw(st.sampled_from(ODD))


@st.composite
def _otherwise(draw: st.DrawFn, value: Any) -> Any:
    """JSON with something in it replaced, left out or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        if not draw(st.integers(0, 4)):
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: draw(_otherwise(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        if not draw(st.integers(0, 4)):
            return value[:at] + value[at + 1 :]
        return [*value[:at], draw(_otherwise(value[at])), *value[at + 1 :]]
    return draw(st.sampled_from(ODD_JSON))


def _parsed(value: Any) -> Any:
    """Returns what a JSON column or payload says; None for what is none."""
    try:
        return json.loads(zlib.decompress(value) if isinstance(value, bytes) else value)
    except (TypeError, ValueError, zlib.error):
        return None


def _stored(found: Any, before: Any) -> Any:
    text = json.dumps(found)
    return zlib.compress(text.encode("ascii")) if isinstance(before, bytes) else text


def damaged(base: Path, path: Path, table: str, row: int, column: str, value: Any) -> bool:
    """A copy of the log with that value in it; False where SQLite itself keeps it out."""
    shutil.copy(base, path)
    place, values = ("cast(x'ff6f' AS TEXT)", []) if value is NO_TEXT else ("?", [value])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        connection.execute("PRAGMA synchronous=OFF")
        try:
            with connection:
                connection.execute(f"UPDATE {table} SET {column} = {place} WHERE rowid = {row}", values)
        except sqlite3.Error:
            return False
    return True


def told(path: Path, command: Sequence[str]) -> str | None:
    """Returns what is wrong with how a command ended; None where it did its work, or said why not in one sentence."""
    arguments = [str(path) if part == "{log}" else part for part in command]
    if "--log" not in arguments:
        arguments += ["--log", str(path)]
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    said = err.getvalue()
    if code in (0, 1) and not said:
        return None
    good = code == 2 and said.count("\n") == 1 and said.endswith(".\n") and NOT_FORESEEN not in said
    return None if good else f"status {code}: {said[-300:]}"


def shown(path: Path, address: str) -> str | None:
    """Returns what is wrong with a page; None where it is shown, or a sentence in its place."""
    try:
        log = RunLog.open(path, read_only=True)
    except Exception as error:
        return None if type(error).__name__ == "LogError" else f"{type(error).__name__}: {error}"
    with log:
        app = make_app(log, TOKEN, read_only=True)
        visitor = TestClient(app, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False)
        visitor.get(f"/?token={TOKEN}")
        answer = visitor.get(address)
    is_sentence = answer.status_code in (404, 500, 503) and "</html>" in answer.text
    return (
        None if is_sentence or answer.status_code in (200, 303, 307) else f"{answer.status_code}: {answer.text[:200]}"
    )
