"""Another log's rows into this one: ids given anew, references kept, nothing doubled, nothing said here overwritten.

Tables and references are read from the schema; a key for each table decides which rows are here already, and what this
log had under a key before the merge stands. Which runs are one is decided in `agent.store.pairing`. Texts stay escaped
as they are stored.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agent.errors import LogError
from agent.store.checking import check_row, declared
from agent.store.database import log_errors
from agent.store.pairing import FINAL, pair_runs
from agent.store.ranges import as_ranges, from_ranges
from agent.store.reading import done_in
from agent.store.schema import columns, natural_key, references, tables

Row = dict[str, Any]

_KEYS: Mapping[str, Sequence[str]] = {
    "texts": ("sha256",),
    "corpora": ("identity",),
    "runs": ("id",),
    "invocations": ("run_id", "started", "command"),
    "activity": ("corpus_id", "feature"),
    "examples": ("corpus_id", "feature"),
    "labels": ("run_id", "feature"),
    "evidence": ("run_id", "feature", "round", "item"),
    "scorings": ("run_id", "identity"),
    "batches": ("token",),
    "calls": ("run_id", "scoring_id", "feature", "round", "purpose", "item", "form", "created"),
    "scores": ("scoring_id", "label_id", "scorer"),
    "reviews": ("label_id", "reviewer", "verdict", "created"),
}
"""In an order in which references point backwards; tables that are not named here follow, by their own constraints."""
_UNIQUE = {"reviews": "undoes"}
"""What may not be here twice either, under whatever key."""
_QUESTION = ("run_id", "scoring_id", "feature", "round", "purpose", "item")
"""What attempts are numbered within."""


_AT_A_TIME = 200
"""Rows of another log that are read by one statement, which may not take for ever."""


@dataclass(frozen=True)
class Merged:
    """The outcome of an import."""

    path: Path
    runs: Mapping[int, int]
    """The number here of each of its runs."""
    joined: frozenset[int]
    """The runs here that one of its runs was part of."""
    added: Mapping[str, int]
    """Rows that came, by table."""
    n_same: int
    """Labels that were here already, word for word."""
    n_kept: int
    """Labels that read otherwise here, and stand: the other wording stayed behind, with its scores and reviews."""


def merge(target: Database, source: Database, path: Path, hold: Callable[[int], None]) -> Merged:
    """Everything that `source`, the log at `path`, has and `target` lacks; part of a transaction that it does not end.

    `hold` is called with each run of `target` that is joined, before it is. Raises `LogError` where `hold` does, and
    where `source` contradicts itself.
    """
    return _Merging(target, source, path).merged(hold)


@dataclass
class _Merging:
    target: Database
    source: Database
    path: Path
    ids: defaultdict[str, dict[int, int | None]] = field(default_factory=lambda: defaultdict(dict))
    """By table: the id here of each row there; None for one that stays behind."""
    joined: dict[int, int] = field(default_factory=dict)
    concluded: set[tuple[int, int]] = field(default_factory=set)
    """Run and feature here: what joined runs had already concluded."""
    rounds: set[tuple[int, int, int]] = field(default_factory=set)
    """Run, feature and round here: of which joined runs have evidence."""
    put_back: list[Row] = field(default_factory=list)
    """Calls of here that go behind those of there, since the first good answer is the one that counts."""
    added: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def merged(self, hold: Callable[[int], None]) -> Merged:
        self._copy("texts")
        self._copy("corpora")
        runs = [*self._rows("runs")]
        self.joined = pair_runs(self.target, self.source, runs)
        for here in self.joined.values():
            hold(here)
        self._runs(runs)
        for there, here in self.joined.items():
            self._make_way(here, there)
            self.rounds |= self._rounds_of(here)
        there_are = tables(self.target)
        for table in dict.fromkeys([*_KEYS, *there_are]):
            if table in there_are and table not in self.ids:
                self._copy(table)
        for row in self.put_back:
            if not self._find("calls", row, _KEYS["calls"]):
                self._insert("calls", self._numbered(row))
        mapped = {there: here for there, here in self.ids["runs"].items() if here is not None}
        added = {table: n for table, n in self.added.items() if n}
        return Merged(
            self.path, mapped, frozenset(self.joined.values()), added, self.labels["same"], self.labels["kept"]
        )

    def _copy(self, table: str) -> None:
        """The rows of a table whose key is not here yet, those whose references stay behind left out."""
        ids = self.ids[table]
        key = _KEYS.get(table) or natural_key(self.target, table)
        known = self._known(table, key)
        for row in self._rows(table):
            moved = self._moved(table, row)
            here = None if moved is None else known.get(tuple(moved[column] for column in key))
            if moved is not None and table == "labels" and here is not None:
                here = self._one_label(here, moved)
            elif moved is not None and here is None and not self._superseded(table, moved):
                here = self._add(table, moved, keep_id=not known)
            if "id" in row:
                ids[row["id"]] = here

    def _add(self, table: str, moved: Row, keep_id: bool) -> int:
        unique = _UNIQUE.get(table)
        here = self._find(table, moved, (unique,)) if unique and moved[unique] is not None else None
        if here is not None:
            return here
        if table == "calls" and moved["run_id"] in self.joined.values():
            moved = self._numbered(moved)
        return self._insert(table, moved, keep_id)

    def _superseded(self, table: str, moved: Row) -> bool:
        """Tells whether it is evidence on a feature that this log has concluded from evidence of its own, or of a round
        that it has evidence of: a round is looked at as a whole.
        """
        if table != "evidence":
            return False
        place = moved["run_id"], moved["feature"]
        return place in self.concluded or (*place, moved["round"]) in self.rounds

    def _one_label(self, here: int, moved: Row) -> int | None:
        """The label here that the other one is, or replaces: a feature that failed here is retried there."""
        words = ("status", "label", "explanation")
        ours = next(self.target.query(f"SELECT {', '.join(words)} FROM labels WHERE id = ?", [here]))
        if ours == {word: moved[word] for word in words}:
            self.labels["same"] += 1
            return here
        if moved["status"] not in FINAL:
            return None
        if ours["status"] in FINAL:
            self.labels["kept"] += 1
            return None
        changes = {column: value for column, value in moved.items() if column != "id"}
        self._update("labels", here, changes)
        self.added["labels"] += 1
        return here

    def _rounds_of(self, here: int) -> set[tuple[int, int, int]]:
        sql = "SELECT DISTINCT run_id, feature, round FROM evidence WHERE run_id = ?"
        return {tuple(place) for place in self.target.execute(sql, [here])}

    def _make_way(self, here: int, there: int) -> None:
        """Removes what a joined run had begun on features that the other part has concluded."""
        self.concluded |= {(here, feature) for feature in done_in(self.target, here)}
        for feature in sorted(done_in(self.source, there)):
            if (here, feature) not in self.concluded:
                where, key = "run_id = ? AND feature = ?", [here, feature]
                self.target.execute(f"DELETE FROM evidence WHERE {where}", key)
                self.target.execute(f"DELETE FROM scores WHERE label_id IN (SELECT id FROM labels WHERE {where})", key)
                self.put_back += self.target.query(f"SELECT * FROM calls WHERE {where} AND scoring_id IS NULL", key)
                self.target.execute(f"DELETE FROM calls WHERE {where} AND scoring_id IS NULL", key)

    def _runs(self, runs: Sequence[Row]) -> None:
        keep_id = not self._known("runs", ("id",))
        for row in runs:
            here = self.joined.get(row["id"])
            self.ids["runs"][row["id"]] = self._insert("runs", row, keep_id) if here is None else self._join(here, row)

    def _join(self, here: int, row: Row) -> int:
        """Notes in the run here what was asked of the other part."""
        ours = next(self.target.query("SELECT features, status, finished FROM runs WHERE id = ?", [here]))
        asked = from_ranges(ours["features"]) | from_ranges(row["features"])
        concluded = done_in(self.target, here) | done_in(self.source, row["id"])
        ends = [end for end in (ours["finished"], row["finished"]) if end]
        done = bool(ends) and (len(ends) == 2 or asked <= concluded)
        changes = {
            "features": as_ranges(asked),
            "status": "finished" if done else "unfinished",
            "finished": max(ends) if done else None,
        }
        self._update("runs", here, changes)
        return here

    def _moved(self, table: str, row: Row) -> Row | None:
        """The row with references to rows here; None where one of them stayed behind."""
        moved = dict(row)
        for column, referred in references(self.target, table).items():
            moved[column] = self._here(table, row, referred, row[column])
            if moved[column] is None and row[column] is not None:
                return None
        return moved

    def _here(self, table: str, row: Row, referred: str, there: int | None) -> int | None:
        if there is None:
            return None
        if there not in self.ids[referred]:
            raise LogError(
                f"{self.path} is damaged: row {row.get('id')} of {table} refers to row {there} of {referred}, which it "
                "does not have; nothing was imported."
            )
        return self.ids[referred][there]

    def _numbered(self, call: Row) -> Row:
        """A call as the next attempt at its question."""
        where = " AND ".join(f"{column} IS ?" for column in _QUESTION)
        values = [call[column] for column in _QUESTION]
        (before,) = self.target.execute(f"SELECT count(*) FROM calls WHERE {where}", values).fetchone()
        return call | {"attempt": before + 1}

    def _rows(self, table: str) -> Iterator[Row]:
        """The other log's rows as they are stored, oldest first."""
        names = ", ".join(columns(self.source, table))
        sql = f"SELECT rowid AS place, {names} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_AT_A_TIME}"
        types, last = declared(self.source, table), -(2**63)
        while True:
            with log_errors(self.path):
                found = list(self.source.query(sql, [last]))
                for row in found:
                    last = row.pop("place")
                    check_row(table, types, row)
            if not found:
                return
            yield from found

    def _known(self, table: str, key: Sequence[str]) -> dict[tuple[Any, ...], int]:
        """The rows here by their key."""
        found = self.target.execute(f"SELECT rowid, {', '.join(key)} FROM {table}")
        return {tuple(values): row_id for row_id, *values in found}

    def _find(self, table: str, row: Row, key: Sequence[str]) -> int | None:
        where = " AND ".join(f"{column} IS ?" for column in key)
        found = self.target.execute(f"SELECT rowid FROM {table} WHERE {where}", [row[column] for column in key])
        return next((int(row_id) for (row_id,) in found), None)

    def _insert(self, table: str, row: Row, keep_id: bool = False) -> int:
        values = row if keep_id else {column: value for column, value in row.items() if column != "id"}
        columns, places = ", ".join(values), ", ".join("?" * len(values))
        self.added[table] += 1
        return int(self._execute(table, f"INSERT INTO {table} ({columns}) VALUES ({places})", values).lastrowid or 0)

    def _update(self, table: str, row_id: int, changes: Row) -> None:
        columns = ", ".join(f"{column} = ?" for column in changes)
        self._execute(table, f"UPDATE {table} SET {columns} WHERE id = {row_id}", changes)

    def _execute(self, table: str, sql: str, values: Row) -> sqlite3.Cursor:
        try:
            cursor: sqlite3.Cursor = self.target.conn.execute(sql, [*values.values()])
        except sqlite3.IntegrityError as error:
            raise LogError(
                f"{self.path} holds a row of {table} that no log may hold ({error}); nothing was imported."
            ) from error
        return cursor
