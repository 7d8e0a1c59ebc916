"""Shards of passes over corpora, until all of one pass are in the log and are put together: rows in, values out."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.log.examples import CorpusIdentity, features_collected, find_corpus, identity_columns
from agent.log.rows import Row, as_ranges, from_ranges, insert, made, now, packed, select, unpacked

_SHARDS = """
    SELECT id AS shard_id, identity, subject_name, fingerprint, source, settings, seed, features, shard, n_shards,
        n_tokens, n_documents, l0, explained_variance, n_checked FROM corpus_shards ORDER BY id
"""
_FEATURES = "SELECT feature, payload FROM shard_features WHERE shard_id = :shard_id"


@dataclass(frozen=True)
class ShardWindows:
    """Windows of a corpus: an element of each for each window."""

    names: Sequence[int]
    """Numbers that stand for their tokens."""
    places: Sequence[int]
    """Places among the windows of the whole pass."""
    documents: Sequence[str]
    starts: Sequence[int]
    ids: Sequence[Sequence[int]]


@dataclass(frozen=True)
class ShardFeature:
    """The part of a feature's examples that a shard has."""

    feature: int
    maximum: float
    counts: Sequence[int]
    windows: ShardWindows
    activations: Sequence[Sequence[float]]
    """Of each window, at each of its tokens."""


@dataclass(frozen=True)
class ShardPool:
    """A shard's random windows, and the peaks of the features that are active in them."""

    windows: ShardWindows
    features: Sequence[Sequence[int]]
    peaks: Sequence[Sequence[float]]


@dataclass(frozen=True)
class ShardFigures:
    """A shard's own figures, and those of the check that begins each pass."""

    n_tokens: int
    n_documents: int
    l0: float
    explained_variance: float | None
    n_checked: int


@dataclass(frozen=True)
class ShardRow:
    """A shard of a pass, without what it found."""

    shard_id: int
    identity: str
    """Of the corpus that all of them make."""
    subject_name: str
    fingerprint: str
    source: str
    settings: Mapping[str, Any]
    seed: int
    features: str
    """Those asked for, as ranges."""
    shard: int
    n_shards: int
    figures: ShardFigures


@dataclass(frozen=True)
class ShardedPass:
    """A pass over a corpus that was divided into shards, as far as they are in the log."""

    shards: Sequence[ShardRow]
    """One at least, by number."""

    @property
    def n_shards(self) -> int:
        """Returns how many there are to be."""
        return self.shards[0].n_shards

    @property
    def missing(self) -> list[int]:
        """Returns the numbers of those that the log lacks."""
        return sorted({*range(self.n_shards)} - {row.shard for row in self.shards})

    @property
    def decisive(self) -> Mapping[str, Any]:
        """Returns what decides, for one subject, which pass a shard is of."""
        first = self.shards[0]
        return {name: getattr(first, name) for name in ("source", "settings", "seed", "features", "n_shards")}


def add_shard(
    db: Database,
    identity: CorpusIdentity,
    features: Collection[int],
    place: tuple[int, int],
    figures: ShardFigures,
    pool: ShardPool,
    found: Sequence[ShardFeature],
) -> None:
    """Keeps a shard, its place among all given as (which, of how many)."""
    row = {
        **identity_columns(identity),
        "features": as_ranges(features),
        "shard": place[0],
        "n_shards": place[1],
        **figures.__dict__,
        "payload": packed({**_columns(pool.windows), "features": pool.features, "peaks": pool.peaks}),
        "created": now(),
    }
    shard_id = insert(db, "corpus_shards", row)
    for one in found:
        kept = {"maximum": one.maximum, "counts": one.counts, "activations": one.activations, **_columns(one.windows)}
        insert(db, "shard_features", {"shard_id": shard_id, "feature": one.feature, "payload": packed(kept)})


def shards_in(db: Database) -> list[ShardRow]:
    """Returns all shards that wait for others, in the order in which they came."""
    return [_shard(row) for row in select(db, _SHARDS)]


def unfinished_shards(db: Database) -> list[ShardRow]:
    """Returns those whose features the log does not have from the whole corpus."""
    return [row for row in shards_in(db) if not from_ranges(row.features) <= _collected(db, row.identity)]


def sharded_passes(rows: Sequence[ShardRow]) -> list[ShardedPass]:
    """Sorts shards by the pass that they are parts of."""
    passes: dict[tuple[str, str, int], list[ShardRow]] = {}
    for row in rows:
        passes.setdefault((row.identity, row.features, row.n_shards), []).append(row)
    return [ShardedPass(sorted(shards, key=lambda row: row.shard)) for shards in passes.values()]


def pool_of(db: Database, shard_id: int) -> ShardPool:
    """Returns a shard's random windows."""
    [row] = select(db, "SELECT payload FROM corpus_shards WHERE id = :shard_id", shard_id=shard_id)
    kept = unpacked(row["payload"])
    values = {"windows": _windows(kept), "features": _nested(kept["features"]), "peaks": _nested(kept["peaks"])}
    return made(ShardPool, values)


def features_of_shard(db: Database, shard_id: int) -> dict[int, ShardFeature]:
    """Returns what a shard has of each feature."""
    return {row["feature"]: _feature(row) for row in select(db, _FEATURES, shard_id=shard_id)}


def drop_shards(db: Database, shard_ids: Collection[int]) -> None:
    """Removes shards that were put together."""
    for shard_id in shard_ids:
        db.execute("DELETE FROM shard_features WHERE shard_id = ?", [shard_id])
        db.execute("DELETE FROM corpus_shards WHERE id = ?", [shard_id])


def _collected(db: Database, identity: str) -> frozenset[int]:
    corpus_id = find_corpus(db, identity)
    return frozenset() if corpus_id is None else features_collected(db, corpus_id)


def _feature(row: Row) -> ShardFeature:
    kept = unpacked(row["payload"])
    windows, activations = _windows(kept), _nested(kept["activations"])
    if [*map(len, activations)] != [*map(len, windows.ids)]:
        raise ValueError("windows have other numbers of tokens than of activations")
    values = {"counts": tuple(kept["counts"]), "windows": windows, "activations": activations}
    return made(ShardFeature, {"feature": row["feature"], "maximum": kept["maximum"], **values})


def _shard(row: dict[str, Any]) -> ShardRow:
    figures = {name: row.pop(name) for name in ShardFigures.__dataclass_fields__}
    from_ranges(row["features"])
    values = {"settings": json.loads(row.pop("settings")), "figures": made(ShardFigures, figures)}
    return made(ShardRow, {**row, **values})


def _columns(windows: ShardWindows) -> Row:
    return dict(windows.__dict__)


def _windows(kept: Mapping[str, Any]) -> ShardWindows:
    flat = {name: tuple(kept[name]) for name in ("names", "places", "documents", "starts")}
    found = made(ShardWindows, {**flat, "ids": _nested(kept["ids"])})
    if {*map(len, flat.values())} != {len(found.ids)}:
        raise ValueError("the columns of windows are not of one length")
    return found


def _nested(rows: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, rows))
