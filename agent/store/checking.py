"""Checks that the values of another log's row can be read: an import must not damage the log that it comes into."""

import json
from collections.abc import Mapping
from typing import Any

from sqlite_utils import Database

from agent.store import codec
from agent.store.ranges import from_ranges
from agent.store.values import unpacked
from probes.settings import ProbeSettings

_TYPES: Mapping[str, type | tuple[type, ...]] = {"INTEGER": int, "REAL": (float, int), "TEXT": str, "BLOB": bytes}
_JSON = {
    "runs": ("subject", "settings", "templates"),
    "invocations": ("versions",),
    "evidence": ("settings",),
    "calls": ("answer",),
    "labels": ("evidence", "senses"),
    "corpora": ("settings",),
    "activity": ("histogram", "baselines"),
    "scorings": ("settings",),
    "scores": ("extra", "items"),
    "comparisons": ("settings",),
    "compared": ("settings",),
    "recommendations": ("settings",),
}
"""Columns that hold JSON, or nothing."""


def declared(db: Database, table: str) -> dict[str, str]:
    """The type of each column of the table."""
    return {column: kind for _, column, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall()}


def check_row(table: str, types: Mapping[str, str], row: Mapping[str, Any]) -> None:
    """Raises ValueError, or what decoding raises, for a value that no reader could use; `types` are those declared."""
    for column, kind in types.items():
        value = row[column]
        if value is not None and not isinstance(value, _TYPES.get(kind, object)):
            raise ValueError(f"row {row.get('id')} of {table} has {column}={value!r:.80}")
    for column in _JSON.get(table, ()):
        if row[column] is not None:
            json.loads(row[column])
    if table == "runs":
        from_ranges(row["features"])
    if table == "examples":
        json.loads(unpacked(row["payload"]))
    if table == "evidence":
        settings = ProbeSettings.model_validate_json(row["settings"])
        codec.decode(row["kind"], row["feature"], settings, row["payload"])
