"""Examples for the log: a pass of the subject over a corpus, with texts on which features are silent beside the others.

Knows no log: it yields one feature after the other, each on the side that its documents are on.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.collecting import Collection, CollectSettings, collect
from eval.corpora import Document
from eval.negatives import Negatives, nearest, pool_firings
from eval.splitting import split_of
from probes.examples import Collected, Split
from probes.subject import Subject


@dataclass(frozen=True)
class Harvested:
    """A feature's examples, and the side of each document among them."""

    found: Collected
    splitting: Mapping[str, Split]


def harvested(found: Collected, seed: int) -> Harvested:
    """The examples as they came, their documents on the sides that the seed puts them on."""
    documents = {example.document for example in found.examples}
    return Harvested(found, {document: split_of(document, seed) for document in documents})


def harvest(
    subject: Subject,
    documents: Iterable[Document],
    features: Sequence[int],
    settings: CollectSettings,
    progress: Callable[[int], None],
) -> tuple[Collection, Iterator[Harvested]]:
    """The pass, and then each feature with its negatives. Raises ExamplesError."""
    collection = collect(subject, documents, features, settings, progress)
    return collection, _with_negatives(subject, collection, settings.seed)


def _with_negatives(subject: Subject, collection: Collection, seed: int) -> Iterator[Harvested]:
    features = [*collection.features]
    neighbours = nearest(subject.sae, features)
    wanted = {*features, *(other for others in neighbours.values() for other in others)}
    firings = pool_firings(subject, collection.pool.windows, wanted)
    negatives = Negatives(collection.pool, firings, seed)
    for feature, found in collection.features.items():
        firing = [example for example in found.examples if example.peak > 0]
        silent = negatives.of(feature, firing, neighbours[feature])
        yield harvested(replace(found, examples=[*firing, *silent]), seed)
