"""Examples for the log: from a pass of the subject over a corpus, or from another tool's files, with texts on which
features are not active beside those on which they are.
"""

from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, zip_longest

import numpy as np

from eval.collect.corpora import Document
from eval.collect.corpus_pass import (
    SILENT,
    BatchReaders,
    Collection,
    CollectSettings,
    PassObserver,
    PoolWindow,
    WindowPool,
    collect_all,
)
from eval.collect.negatives import N_PER_NEIGHBOUR, Negatives, PoolActivations, nearest, pool_activations
from eval.collect.similar import Embed
from eval.collect.split import split_of, without_duplicates
from eval.collect.token_text import Spelling
from probes.examples import Example, FeatureExamples, Split
from probes.subject import Subject

COLUMNS = 500
"""Features that a pass reads, where so many were not asked for; up to here they cost it little."""
IMPORTED_POOL = 2000
"""Most of the imported texts that negatives are chosen from."""
WINDOW_TOKENS = 64
"""Most tokens of such a text."""


@dataclass(frozen=True)
class FeatureHarvest:
    """A feature's examples, and the side of each document among them."""

    found: FeatureExamples
    splitting: Mapping[str, Split]


def feature_harvest(found: FeatureExamples, seed: int) -> FeatureHarvest:
    """The examples less near-duplicates, their documents on the sides that the seed puts them on.

    Of texts that are alike one on which the feature is active stays before one on which it is not, else the first.
    """
    examples = tuple(without_duplicates(sorted(found.examples, key=lambda example: example.kind != "activating")))
    documents = {example.document for example in examples}
    return FeatureHarvest(
        replace(found, examples=examples), {document: split_of(document, seed) for document in documents}
    )


def harvest(
    subject: Subject,
    documents: Iterable[Document],
    features: Sequence[int],
    settings: CollectSettings,
    watch: PassObserver = SILENT,
    embed: Embed | None = None,
    readers: BatchReaders | None = None,
) -> tuple[Collection, Iterator[FeatureHarvest]]:
    """The pass, and then each feature with its negatives. Raises ExamplesError.

    Neighbours are read beside the features, as many as cost little, for texts that activate them and not the features.
    `embed` finds the texts that are similar to a feature's own; `readers` read the corpus in place of this process.
    """
    return harvest_all([(subject, features)], documents, settings, watch, embed, readers)[0]


def harvest_all(
    wanted: Sequence[tuple[Subject, Sequence[int]]],
    documents: Iterable[Document],
    settings: CollectSettings,
    watch: PassObserver = SILENT,
    embed: Embed | None = None,
    readers: BatchReaders | None = None,
) -> list[tuple[Collection, Iterator[FeatureHarvest]]]:
    """Does the same for several SAEs of one model, in one pass. Raises ExamplesError."""
    neighbours = [nearest(subject.sae, features) for subject, features in wanted]
    read = [
        (subject, with_neighbours(features, near)) for (subject, features), near in zip(wanted, neighbours, strict=True)
    ]
    return [
        harvest_of(subject, found, features, near, settings.seed, embed)
        for found, (subject, features), near in zip(
            collect_all(read, documents, settings, watch, readers), wanted, neighbours, strict=True
        )
    ]


def harvest_of(
    subject: Subject,
    found: Collection,
    features: Sequence[int],
    neighbours: Mapping[int, Sequence[int]],
    seed: int,
    embed: Embed | None,
) -> tuple[Collection, Iterator[FeatureHarvest]]:
    """Returns the features asked for, without their neighbours, each with its negatives."""
    asked_for = replace(found, features={feature: found.features[feature] for feature in features})
    return asked_for, _with_negatives(subject, asked_for, neighbours, found.features, seed, embed)


def with_neighbours(features: Sequence[int], neighbours: Mapping[int, Sequence[int]]) -> list[int]:
    """The features, then the nearest neighbours of all, then the second nearest, up to `COLUMNS` of them; which ones
    does not hang on the order of the features."""
    ranks = zip_longest(*(neighbours[feature] for feature in sorted(features)))
    others = dict.fromkeys(other for rank in ranks for other in rank if other is not None)
    room = max(0, COLUMNS - len(features))
    return [*features, *islice((other for other in others if other not in neighbours), room)]


def imported(
    subject: Subject, found: Mapping[int, FeatureExamples], seed: int, embed: Embed | None = None
) -> Iterator[FeatureHarvest]:
    """Each feature of other tools' files, which hold few texts on which it is not active: those of the other features
    are read by the subject, and one on which the feature does not activate is a negative. Activations are to be in
    the SAE's own unit: see `in_own_unit`."""
    windows = _windows(subject, [example for item in found.values() for example in item.examples], seed)
    if not windows:
        return (feature_harvest(item, seed) for item in found.values())
    features = tuple(found)
    neighbours = nearest(subject.sae, features)
    active = _active(subject, windows, features, neighbours)
    peaks = active.peaks[:, [active.place[feature] for feature in features]]
    chooser = Negatives(WindowPool(windows, features, peaks), active, seed, partial(_encoded, subject), embed)
    return _each(found, neighbours, chooser, seed)


def _windows(subject: Subject, examples: Sequence[Example], seed: int) -> tuple[PoolWindow, ...]:
    """Different texts among the examples, as the subject's own tokens."""
    texts = {example.text: example for example in examples}
    order = np.random.default_rng(seed).permutation(len(texts))[:IMPORTED_POOL].tolist()
    chosen = [[*texts.values()][place] for place in order]
    spelling = Spelling(subject)
    windows = []
    for example in chosen:
        ids = tuple(_encoded(subject, example.text)[:WINDOW_TOKENS])
        if ids:
            windows.append(PoolWindow(example.document, example.start, ids, spelling(ids)))
    return tuple(windows)


def _encoded(subject: Subject, text: str) -> list[int]:
    ids: list[int] = subject.tokenizer.encode(text, add_special_tokens=False)
    return ids


def _with_negatives(
    subject: Subject,
    collection: Collection,
    neighbours: Mapping[int, Sequence[int]],
    read: Mapping[int, FeatureExamples],
    seed: int,
    embed: Embed | None,
) -> Iterator[FeatureHarvest]:
    rare = _rare(collection.pool, {other for others in neighbours.values() for other in others})
    beside = [window for other in rare if other in read for window in _strongest(read[other])]
    active = _active(subject, [*collection.pool.windows, *beside], [*collection.features], neighbours)
    chooser = Negatives(collection.pool, active, seed, partial(_encoded, subject), embed)
    yield from _each(collection.features, neighbours, chooser, seed)


def _rare(pool: WindowPool, features: AnyOf[int]) -> list[int]:
    """Returns the features active on too few windows of the pool to be a neighbour there."""
    n_active = dict(zip(pool.features, (pool.peaks > 0).sum(axis=0).tolist(), strict=True))
    return sorted(feature for feature in features if n_active.get(feature, 0) < N_PER_NEIGHBOUR)


def _strongest(found: FeatureExamples) -> Iterator[PoolWindow]:
    for example in found.examples[: 2 * N_PER_NEIGHBOUR]:
        yield PoolWindow(example.document, example.start, example.token_ids or (), example.tokens)


def _active(
    subject: Subject, windows: Sequence[PoolWindow], features: Iterable[int], neighbours: Mapping[int, Sequence[int]]
) -> PoolActivations:
    return pool_activations(
        subject, windows, {*features, *(other for others in neighbours.values() for other in others)}
    )


def _each(
    collected: Mapping[int, FeatureExamples], neighbours: Mapping[int, Sequence[int]], negatives: Negatives, seed: int
) -> Iterator[FeatureHarvest]:
    for feature, found in collected.items():
        activating = [example for example in found.examples if example.peak > 0]
        non_activating = negatives.of(feature, activating, neighbours[feature])
        yield feature_harvest(replace(found, examples=[*found.examples, *non_activating]), seed)
