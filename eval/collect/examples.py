"""Examples for the log: from a pass of the subject over a corpus, or from another tool's files, with texts on which
features are silent beside those on which they fire.

Knows no log: it yields one feature after the other, each on the side that its documents are on.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.collect.corpora import Document
from eval.collect.corpus_pass import SILENT, Collection, CollectSettings, PassWatch, Pool, PoolWindow, collect
from eval.collect.negatives import Negatives, PoolFirings, nearest, pool_firings
from eval.collect.own_texts import check_own
from eval.collect.split import split_of, without_duplicates
from eval.collect.token_text import Spelling
from probes.examples import Collected, Example, Split
from probes.subject import Subject

IMPORTED_POOL = 2000
"""Most of the imported texts that negatives are chosen from."""
WINDOW_TOKENS = 64
"""Most tokens of such a text."""


@dataclass(frozen=True)
class Harvested:
    """A feature's examples, and the side of each document among them."""

    found: Collected
    splitting: Mapping[str, Split]


def harvested(found: Collected, seed: int) -> Harvested:
    """The examples less near-duplicates, their documents on the sides that the seed puts them on.

    Of texts that are alike one on which the feature fires stays before one on which it is silent, else the first.
    """
    examples = tuple(without_duplicates(sorted(found.examples, key=lambda example: example.kind != "activating")))
    documents = {example.document for example in examples}
    return Harvested(replace(found, examples=examples), {document: split_of(document, seed) for document in documents})


def harvest(
    subject: Subject,
    documents: Iterable[Document],
    features: Sequence[int],
    settings: CollectSettings,
    watch: PassWatch = SILENT,
) -> tuple[Collection, Iterator[Harvested]]:
    """The pass, and then each feature with its negatives. Raises ExamplesError."""
    collection = collect(subject, documents, features, settings, watch)
    return collection, _with_negatives(subject, collection, settings.seed)


def imported(subject: Subject, found: Mapping[int, Collected], seed: int) -> Iterator[Harvested]:
    """Each feature of other tools' files, which hold few texts on which it is silent: those of the other features are
    read by the subject, and where the feature does not fire on one, that is a negative. Raises ExamplesError where they
    are of another subject."""
    check_own(subject, found)
    windows = _windows(subject, [example for item in found.values() for example in item.examples], seed)
    if not windows:
        return (harvested(item, seed) for item in found.values())
    features = tuple(found)
    neighbours = nearest(subject.sae, features)
    firings = _firings(subject, windows, features, neighbours)
    peaks = firings.peaks[:, [firings.place[feature] for feature in features]]
    return _each(found, neighbours, Negatives(Pool(windows, features, peaks), firings, seed), seed)


def _windows(subject: Subject, examples: Sequence[Example], seed: int) -> tuple[PoolWindow, ...]:
    """Different texts among the examples, as the subject's own tokens."""
    texts = {example.text: example for example in examples}
    order = np.random.default_rng(seed).permutation(len(texts))[:IMPORTED_POOL].tolist()
    chosen = [[*texts.values()][place] for place in order]
    spelling = Spelling(subject)
    windows = []
    for example in chosen:
        ids = tuple(subject.tokenizer.encode(example.text, add_special_tokens=False)[:WINDOW_TOKENS])
        if ids:
            windows.append(PoolWindow(example.document, example.start, ids, spelling(ids)))
    return tuple(windows)


def _with_negatives(subject: Subject, collection: Collection, seed: int) -> Iterator[Harvested]:
    features = [*collection.features]
    neighbours = nearest(subject.sae, features)
    firings = _firings(subject, collection.pool.windows, features, neighbours)
    return _each(collection.features, neighbours, Negatives(collection.pool, firings, seed), seed)


def _firings(
    subject: Subject, windows: Sequence[PoolWindow], features: Iterable[int], neighbours: Mapping[int, Sequence[int]]
) -> PoolFirings:
    return pool_firings(subject, windows, {*features, *(other for others in neighbours.values() for other in others)})


def _each(
    collected: Mapping[int, Collected], neighbours: Mapping[int, Sequence[int]], negatives: Negatives, seed: int
) -> Iterator[Harvested]:
    for feature, found in collected.items():
        firing = [example for example in found.examples if example.peak > 0]
        silent = negatives.of(feature, firing, neighbours[feature])
        yield harvested(replace(found, examples=[*found.examples, *silent]), seed)
