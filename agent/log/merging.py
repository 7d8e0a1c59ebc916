"""Another log's rows into this one: ids given anew, references kept, nothing doubled, nothing said here overwritten.

Tables and references are read from the schema; a key for each table decides which rows are here already, and what this
log had under a key before the merge stands. Texts stay escaped as they are stored.

Two parts of one run have its identity. They are the same run where they were also begun at the same moment (one log is
a copy of the other, gone on with elsewhere), or where nothing that one concluded or began contradicts the other (two
machines took different features). Where they do contradict, as after `--new`, both are worth keeping and stay two runs.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agent.errors import LogError
from agent.log.calls import next_attempt
from agent.log.evidence import evidence_in
from agent.log.opening import log_errors
from agent.log.rows import as_ranges, first, from_ranges, unpacked
from agent.log.runs import done_in, probed_in
from agent.log.schema import columns, natural_key, references, tables
from agent.log.texts import hash_of_text

Row = dict[str, Any]

_FINAL = frozenset({"labelled", "abstained"})
"""Statuses of features that no run goes back to."""
_KEYS: Mapping[str, Sequence[str]] = {
    "runs": ("id",),
    "invocations": ("run_id", "started", "command"),
    "examples": ("corpus_id", "feature"),
    "calls": ("run_id", "scoring_id", "feature", "round", "purpose", "item", "form", "created"),
    "scores": ("scoring_id", "label_id", "scorer"),
    "reviews": ("label_id", "reviewer", "verdict", "created"),
}
"""Of the tables whose rows are known by something else than their uniqueness constraint."""
_UNIQUE = {"reviews": "undoes"}
"""Columns that may not be here twice either, under whatever key."""
_AT_A_TIME = 200
"""Rows of another log that are read by one statement, which may not take for ever."""
_TEXTS = 256
"""Texts of another log that are held in memory: its dictionaries are few, and so are its settings as a rule."""
_TYPES: Mapping[str, type | tuple[type, ...]] = {"INTEGER": int, "REAL": (float, int), "TEXT": str, "BLOB": bytes}
_JSON = {
    "runs": ("subject", "settings", "templates"),
    "invocations": ("versions",),
    "calls": ("answer",),
    "labels": ("evidence", "senses", "before"),
    "corpora": ("settings",),
    "activity": ("histogram", "baselines"),
    "corpus_shards": ("settings",),
    "scorings": ("settings",),
    "scores": ("extra", "items"),
    "comparisons": ("settings",),
    "compared": ("settings",),
    "recommendations": ("settings",),
    "calibrations": ("fingerprints", "map", "figures"),
}
"""Columns that hold JSON, or nothing."""


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


def merge(target: Database, source: Database, path: Path) -> Merged:
    """Brings everything that `source`, the log at `path`, has and `target` lacks; in a transaction that goes on.

    Raises `LogError` where `source` contradicts itself, or holds what no log may hold.
    """
    return _Merging(target, source, path, lru_cache(_TEXTS)(partial(_text, source))).merged()


@dataclass
class _Merging:
    target: Database
    source: Database
    path: Path
    text_of: Callable[[int], str]
    """A text of `source` by its row."""
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

    @cached_property
    def referred(self) -> frozenset[str]:
        """The tables that others refer to: of no other table are ids needed, and evidence has millions."""
        return frozenset(other for table in tables() for other in references(self.target, table).values())

    def merged(self) -> Merged:
        for table in tables():
            if table == "runs":
                self._runs()
            else:
                self._copy(table)
        for row in self.put_back:
            if not self._find("calls", row, _KEYS["calls"]):
                self._insert("calls", self._numbered(row))
        runs = {there: here for there, here in self.ids["runs"].items() if here is not None}
        added = {table: n for table, n in self.added.items() if n}
        return Merged(self.path, runs, frozenset(self.joined.values()), added, self.labels["same"], self.labels["kept"])

    def _copy(self, table: str) -> None:
        """Adds the rows of a table whose key is not here yet, those whose references stay behind left out."""
        referred = references(self.target, table)
        key = _KEYS.get(table) or natural_key(self.target, table)
        known = self._known(table, key)
        for row in self._rows(table):
            moved = self._moved(table, row, referred)
            here = None if moved is None else known.get(tuple(moved[column] for column in key))
            if moved is not None and table == "labels" and here is not None:
                here = self._one_label(here, moved)
            elif moved is not None and here is None and not self._superseded(table, moved):
                here = self._add(table, moved, keep_id=not known)
            if table in self.referred:
                self.ids[table][row["id"]] = here

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
        """Returns the label here that the other one is, or replaces: a feature that failed here is retried there."""
        words = ("status", "label", "explanation")
        ours = next(self.target.query(f"SELECT {', '.join(words)} FROM labels WHERE id = ?", [here]))
        if ours == {word: moved[word] for word in words}:
            self.labels["same"] += 1
            return here
        if moved["status"] not in _FINAL:
            return None
        if ours["status"] in _FINAL:
            self.labels["kept"] += 1
            return None
        self._update("labels", here, {column: value for column, value in moved.items() if column != "id"})
        self.added["labels"] += 1
        return here

    def _runs(self) -> None:
        """Adds the runs that are none of here, and joins those that are; before anything of them comes."""
        rows = [*self._rows("runs")]
        self.joined = pair_runs(self.target, self.source, rows)
        keep_id = not self._known("runs", ("id",))
        for row in rows:
            here = self.joined.get(row["id"])
            self.ids["runs"][row["id"]] = self._insert("runs", row, keep_id) if here is None else self._join(here, row)
        for there, here in self.joined.items():
            self._make_way(here, there)
            sql = "SELECT DISTINCT run_id, feature, round FROM evidence WHERE run_id = ?"
            self.rounds |= {tuple(place) for place in self.target.execute(sql, [here])}

    def _join(self, here: int, row: Row) -> int:
        """Notes in the run here what was asked of the other part."""
        ours = next(self.target.query("SELECT features, status, finished FROM runs WHERE id = ?", [here]))
        asked = from_ranges(ours["features"]) | from_ranges(row["features"])
        concluded = done_in(self.target, here) | done_in(self.source, row["id"])
        ends = [end for end in (ours["finished"], row["finished"]) if end]
        done = bool(ends) and (len(ends) == 2 or asked <= concluded)
        status = {"status": "finished", "finished": max(ends)} if done else {"status": "unfinished", "finished": None}
        self._update("runs", here, {"features": as_ranges(asked), **status})
        return here

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

    def _moved(self, table: str, row: Row, referred: Mapping[str, str]) -> Row | None:
        """Returns the row with references to rows here; None where one of them stayed behind."""
        moved = dict(row)
        for column, other in referred.items():
            moved[column] = self._here(table, row, other, row[column])
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
        """Makes a call the next attempt at its question."""
        return call | {"attempt": next_attempt(self.target, call)}

    def _rows(self, table: str) -> Iterator[Row]:
        """Reads the other log's rows as they are stored, oldest first."""
        types, last = columns(self.source, table), -(2**63)
        sql = (
            f"SELECT rowid AS place, {', '.join(types)} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_AT_A_TIME}"
        )
        while True:
            with log_errors(self.path):
                found = list(self.source.query(sql, [last]))
                for row in found:
                    last = row.pop("place")
                    _check_row(table, types, row, self.text_of)
            if not found:
                return
            yield from found

    def _known(self, table: str, key: Sequence[str]) -> dict[tuple[Any, ...], int]:
        """Returns the rows here by their key."""
        found = self.target.execute(f"SELECT id, {', '.join(key)} FROM {table}")
        return {tuple(values): row_id for row_id, *values in found}

    def _find(self, table: str, row: Row, key: Sequence[str]) -> int | None:
        where = " AND ".join(f"{column} IS ?" for column in key)
        found = self.target.execute(f"SELECT id FROM {table} WHERE {where}", [row[column] for column in key])
        return next((int(row_id) for (row_id,) in found), None)

    def _insert(self, table: str, row: Row, keep_id: bool = False) -> int:
        values = row if keep_id else {column: value for column, value in row.items() if column != "id"}
        names, places = ", ".join(values), ", ".join("?" * len(values))
        self.added[table] += 1
        return int(self._execute(table, f"INSERT INTO {table} ({names}) VALUES ({places})", values).lastrowid or 0)

    def _update(self, table: str, row_id: int, changes: Row) -> None:
        names = ", ".join(f"{column} = ?" for column in changes)
        self._execute(table, f"UPDATE {table} SET {names} WHERE id = {row_id}", changes)

    def _execute(self, table: str, sql: str, values: Row) -> sqlite3.Cursor:
        try:
            cursor: sqlite3.Cursor = self.target.conn.execute(sql, [*values.values()])
        except sqlite3.IntegrityError as error:
            raise LogError(
                f"{self.path} holds a row of {table} that no log may hold ({error}); nothing was imported."
            ) from error
        return cursor


def pair_runs(target: Database, source: Database, theirs: Sequence[Row]) -> dict[int, int]:
    """Finds the run of `target` that each of `theirs`, rows of `source`, is; no two of them are the same."""
    ours = [*target.query("SELECT id, identity, created FROM runs ORDER BY created DESC, id DESC")]
    begun = {(run["identity"], run["created"]): run["id"] for run in ours}
    pairs = {run["id"]: begun[key] for run in theirs if (key := (run["identity"], run["created"])) in begun}
    for run in theirs:
        if run["id"] not in pairs:
            free = (our["id"] for our in ours if our["identity"] == run["identity"] and our["id"] not in pairs.values())
            here = next((here for here in free if not _contradict(target, here, source, run["id"])), None)
            if here is not None:
                pairs[run["id"]] = here
    return pairs


def _contradict(target: Database, here: int, source: Database, there: int) -> bool:
    """Tells whether a feature has two final wordings, or was begun by both and concluded by neither."""
    ours, theirs = _wordings(target, here), _wordings(source, there)
    concluded = done_in(target, here) | done_in(source, there)
    if any(probed_in(target, here) & probed_in(source, there) - concluded):
        return True
    both = ours.keys() & theirs.keys()
    return any({ours[f][0], theirs[f][0]} <= _FINAL and ours[f] != theirs[f] for f in both)


def _wordings(db: Database, run_id: int) -> dict[int, tuple[str, str, str]]:
    """Returns status, label and explanation by feature."""
    found = db.execute("SELECT feature, status, label, explanation FROM labels WHERE run_id = ?", [run_id])
    return {feature: (status, label, explanation) for feature, status, label, explanation in found.fetchall()}


def _text(db: Database, text_id: int) -> str:
    """Returns the text of that row. Raises ValueError if there is none."""
    found = first(db, "SELECT text FROM texts WHERE id = :id", id=text_id)
    if found is None:
        raise ValueError(f"row {text_id} of texts is not there")
    return str(found["text"])


def _check_row(table: str, types: Mapping[str, str], row: Row, text_of: Callable[[int], str]) -> None:
    """Raises ValueError, or what decoding raises, for a value that no reader could use: none may damage this log."""
    for column, kind in types.items():
        value = row[column]
        if value is not None and not isinstance(value, _TYPES.get(kind, object)):
            raise ValueError(f"row {row.get('id')} of {table} has {column}={value!r:.80}")
    for column in _JSON.get(table, ()):
        if row[column] is not None:
            json.loads(row[column])
    if table == "runs":
        from_ranges(row["features"])
    if table in ("examples", "corpus_shards", "shard_features"):
        unpacked(row["payload"])
    if table == "texts" and row["sha256"] != hash_of_text(row["text"]):
        raise ValueError(f"row {row['id']} of texts is not what its sha256 says")
    if table == "evidence":
        evidence_in(row | {"settings": text_of(row["settings_id"]), "dictionary": text_of(row["dictionary_id"])})
