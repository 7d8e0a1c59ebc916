"""Parts of a pass over a corpus: each read by itself, kept in a log, and put together to what one pass gives."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.log.corpus_shards import ShardFeature, ShardFigures, ShardPool, ShardWindows
from agent.shards import Shard
from eval.collect.bottom_k import StructuredArray
from eval.collect.corpora import Document
from eval.collect.corpus_pass import (
    BatchReaders,
    Collection,
    CollectSettings,
    PassObserver,
    Tallied,
    collection_of,
    tally_all,
)
from eval.collect.examples import FeatureHarvest, harvest_of, with_neighbours
from eval.collect.negatives import nearest
from eval.collect.self_check import SelfCheck
from eval.collect.similar import Embed
from eval.collect.tally import ACTIVATIONS, LONGEST, FeatureTally, KeptWindows, Tally, pool_rows
from eval.collect.token_text import Spelling
from eval.errors import ExamplesError
from probes.doors import door
from probes.subject import Subject


@dataclass(frozen=True)
class PassShard:
    """All that a shard of a pass has to keep."""

    figures: ShardFigures
    pool: ShardPool
    features: Mapping[int, ShardFeature]


def read_shards(
    wanted: Sequence[tuple[Subject, Sequence[int]]],
    documents: Iterable[Document],
    settings: CollectSettings,
    shard: Shard,
    watch: PassObserver,
    workers: BatchReaders | None = None,
) -> list[PassShard]:
    """Reads one shard of the documents for several SAEs of one model. Raises ExamplesError."""
    read = [(subject, with_neighbours(features, nearest(subject.sae, features))) for subject, features in wanted]
    return [_kept(found) for found in tally_all(read, documents, settings, watch, workers, shard)]


def put_together(
    subject: Subject,
    features: Sequence[int],
    shards: Sequence[PassShard],
    settings: CollectSettings,
    watch: PassObserver,
    embed: Embed | None,
) -> tuple[Collection, Iterator[FeatureHarvest]]:
    """Returns what one pass over the whole corpus gives, out of all of its shards. Raises ExamplesError."""
    neighbours = nearest(subject.sae, features)
    read = with_neighbours(features, neighbours)
    if any(shard.features.keys() != {*read} for shard in shards):
        raise ExamplesError("The shards have other features than these; read them with this version, and import them.")
    tally = Tally(read, settings.sizes, settings.seed)
    with door(ExamplesError, "The shards cannot be put together: {cause}; read them anew, and import them."):
        for place, feature in enumerate(read):
            tally.add_feature(place, [_feature_tally(shard.features[feature]) for shard in shards])
        column = {feature: place for place, feature in enumerate(read)}
        tally.add_pool([_pool(shard.pool, column) for shard in shards])
        tally.n_tokens = sum(shard.figures.n_tokens for shard in shards)
    figures = shards[0].figures
    check = SelfCheck(figures.l0, figures.explained_variance, figures.n_checked)
    found = collection_of(Tallied(read, tally, figures.n_documents, check), Spelling(subject), watch)
    return harvest_of(subject, found, features, neighbours, settings.seed, embed)


def _kept(found: Tallied) -> PassShard:
    tally, check = found.tally, found.check
    features = {
        feature: _shard_feature(feature, tally.of_feature(place)) for place, feature in enumerate(found.features)
    }
    figures = ShardFigures(tally.n_tokens, found.n_documents, check.l0, check.explained_variance, check.n_tokens)
    return PassShard(figures, _shard_pool(tally.pool, found.features), features)


def _shard_feature(feature: int, found: FeatureTally) -> ShardFeature:
    windows, counts = found.windows, tuple(found.counts.tolist())
    return ShardFeature(feature, found.maximum, counts, _columns(windows), _cut(windows, "activations"))


def _feature_tally(found: ShardFeature) -> FeatureTally:
    rows = _rows(np.zeros(len(found.windows.names), ACTIVATIONS), found.windows)
    for row, activations in zip(rows, found.activations, strict=True):
        row["activations"][: len(activations)] = activations
    if not all(0 < peak <= found.maximum for peak in rows["activations"].max(axis=1)):
        raise ValueError(f"feature {found.feature} has windows beyond its range")
    return FeatureTally(found.maximum, np.array(found.counts), KeptWindows(_names(found.windows), rows))


def _shard_pool(found: KeptWindows, features: Sequence[int]) -> ShardPool:
    peaks = found.rows["peaks"]
    there = [np.flatnonzero(row).tolist() for row in peaks]
    return ShardPool(
        _columns(found),
        [[features[column] for column in columns] for columns in there],
        [row[columns].tolist() for row, columns in zip(peaks, there, strict=True)],
    )


def _pool(found: ShardPool, column: Mapping[int, int]) -> KeptWindows:
    rows = _rows(np.zeros(len(found.windows.names), pool_rows(len(column))), found.windows)
    for row, features, peaks in zip(rows, found.features, found.peaks, strict=True):
        row["peaks"][[column[feature] for feature in features]] = peaks
    return KeptWindows(_names(found.windows), rows)


def _columns(found: KeptWindows) -> ShardWindows:
    rows = found.rows
    return ShardWindows(
        found.names.tolist(), rows["place"].tolist(), [*rows["document"]], rows["start"].tolist(), _cut(found, "ids")
    )


def _cut(found: KeptWindows, column: str) -> list[list[Any]]:
    """A column of the windows' tokens, without what pads it."""
    return [row[column][: row["length"]].tolist() for row in found.rows]


def _rows(empty: StructuredArray, windows: ShardWindows) -> StructuredArray:
    empty["place"], empty["start"] = windows.places, windows.starts
    empty["document"] = windows.documents
    empty["length"] = [len(ids) for ids in windows.ids]
    empty["ids"] = [[*ids, *[0] * (LONGEST - len(ids))] for ids in windows.ids] or empty["ids"]
    return empty


def _names(windows: ShardWindows) -> StructuredArray:
    return np.array(windows.names, dtype=np.uint64)
