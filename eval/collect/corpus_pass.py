"""Examples of chosen features from a corpus: one streaming pass of the model for all SAEs that read it, in memory that
does not grow with the corpus.

Says in what order things happen; the model's part is in `batch_activations`, what is kept in `tally`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain, takewhile
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field

from agent.shards import WHOLE, Shard
from eval.collect.batch_activations import ahead, batch_activations
from eval.collect.corpora import Document
from eval.collect.self_check import SelfCheck, self_check
from eval.collect.tally import BatchActivations, Tally, TallySizes, stratum
from eval.collect.token_text import Spelling
from eval.collect.windows import WindowBatch, WindowCutter
from eval.errors import ExamplesError
from probes.columns import Columns
from probes.examples import Example, FeatureExamples
from probes.settings import Value
from probes.subject import Subject, first_ids

BATCH_TOKENS = 16384
"""Tokens that are added up at a time."""


class PassObserver:
    """An observer of a pass, which may end it. This one says nothing and lets it go on."""

    def checked(self, check: SelfCheck) -> None:
        """The SAE fits what it reads, by its first batch."""

    def read(self, n_tokens: int) -> None:
        """So many more tokens are read."""

    def stops(self) -> bool:
        """Tells whether the pass should end with what was read so far."""
        return False

    def spelled(self, of: int) -> None:
        """One more of so many features has its examples."""


SILENT = PassObserver()

BatchReaders = Callable[[Sequence[int], Iterable[WindowBatch]], AbstractContextManager[Iterator[BatchActivations]]]
"""Reads batches elsewhere: features, batches -> where the features activate in each, in the batches' order."""


class CollectSettings(Value):
    """Settings of a pass: how much is read and kept."""

    n_tokens: int = Field(default=1_000_000, ge=1)
    """Most tokens to read."""
    context: int = Field(default=128, ge=8, le=8192)
    """Most tokens of a window, BOS with them; documents are cut into windows, and no window crosses documents."""
    top: int = Field(default=32, ge=1)
    """Strongest windows kept of each feature."""
    per_cell: int = Field(default=8, ge=1)
    """Windows sampled from each of 8 to 16 equal parts of each feature's range."""
    pool: int = Field(default=2000, ge=1)
    """Random windows kept."""
    seed: int = Field(default=0, ge=0)

    @property
    def sizes(self) -> TallySizes:
        """Returns the sizes of what is kept."""
        return TallySizes(self.top, self.per_cell, self.pool)


@dataclass(frozen=True)
class PoolWindow:
    """A stretch of a random window."""

    document: str
    start: int
    """Place of the first token in its document."""
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class WindowPool:
    """Random windows, whatever activates in them."""

    windows: tuple[PoolWindow, ...]
    features: tuple[int, ...]
    peaks: Float[np.ndarray, "n_pool n_chosen"]
    """The highest activation of each of `features` within each stretch, float32; 0 where it does not activate."""


@dataclass(frozen=True, eq=False)
class Tallied:
    """The tally of a pass, or of a part of one."""

    features: Sequence[int]
    """In the order of the tally's columns."""
    tally: Tally
    n_documents: int
    """Documents of the whole pass."""
    check: SelfCheck


@dataclass(frozen=True, eq=False)
class Collection:
    """The outcome of a pass over a corpus."""

    n_tokens: int
    """Tokens that count: special ones are left out."""
    n_documents: int
    check: SelfCheck
    features: Mapping[int, FeatureExamples]
    pool: WindowPool


def collect(
    subject: Subject,
    documents: Iterable[Document],
    features: Sequence[int],
    settings: CollectSettings,
    watch: PassObserver = SILENT,
    readers: BatchReaders | None = None,
) -> Collection:
    """Examples and counts of `features` over `documents`, as far as they go or `watch` lets them.

    A feature's examples are its strongest windows, the strongest first, then a sample over its range that has none of
    those. Windows of the very same tokens are kept once. The same seed, documents and features give the same examples,
    whether `readers` read the batches or, without any, this process does.
    Raises ExamplesError where the documents hold nothing, the SAE does not fit the model, or an activation is not a
    finite number.
    """
    return collect_all([(subject, features)], documents, settings, watch, readers)[0]


def collect_all(
    read: Sequence[tuple[Subject, Sequence[int]]],
    documents: Iterable[Document],
    settings: CollectSettings,
    watch: PassObserver = SILENT,
    workers: BatchReaders | None = None,
) -> list[Collection]:
    """Does the same for several SAEs of one model at once: each gets what a pass of its own would give it.

    The subjects share their model, which reads every text once, up to the deepest of their hooks; `workers` read for
    one subject alone. Raises ExamplesError too where their texts do not begin alike.
    """
    tallies = tally_all(read, documents, settings, watch, workers)
    spelling = Spelling(read[0][0])
    return [collection_of(tally, spelling, watch) for tally in tallies]


def tally_all(
    read: Sequence[tuple[Subject, Sequence[int]]],
    documents: Iterable[Document],
    settings: CollectSettings,
    watch: PassObserver,
    workers: BatchReaders | None,
    shard: Shard = WHOLE,
) -> list[Tallied]:
    """Returns the tally of each SAE over a shard's batches of the documents.

    All documents are cut into windows, whatever the shard: so it reads the very batches that it would read in a pass
    over all, and finds the very numbers. Raises ExamplesError.
    """
    subject = read[0][0]
    _check_alike([one for one, _ in read])
    windows = WindowCutter(subject, settings.context, BATCH_TOKENS)
    batches = windows.batches(documents, settings.n_tokens)
    first = next(batches, None)
    if first is None:
        raise ExamplesError("The corpus holds no text; give one that has some.")
    checks = []
    for one, _ in read:
        checks.append(self_check(one, first))
        watch.checked(checks[-1])
    readers = [Columns(one.sae, features) for one, features in read]
    kept = [Tally(features, settings.sizes, settings.seed) for _, features in read]
    wanted = takewhile(lambda _: not watch.stops(), shard.every(chain([first], batches)))
    scan(subject, readers, wanted, kept, watch.read, workers)
    return [
        Tallied(columns.features, tally, windows.n_documents, check)
        for columns, tally, check in zip(readers, kept, checks, strict=True)
    ]


def _check_alike(subjects: Sequence[Subject]) -> None:
    fronts = {(id(subject.model), *first_ids(subject)) for subject in subjects}
    if len(fronts) > 1:
        raise ExamplesError(
            "These SAEs do not read the same texts: for some a BOS stands in front, for others not; give --bos or "
            "--no-bos for all, or name them in two commands."
        )


def collection_of(found: Tallied, spelling: Spelling, watch: PassObserver) -> Collection:
    """Returns the examples that a tally holds, as texts."""
    examples = {}
    for place, feature in enumerate(found.features):
        examples[feature] = _collected(found.tally, place, feature, spelling)
        watch.spelled(len(found.features))
    pool = _pool(found.tally, found.features, spelling)
    return Collection(found.tally.n_tokens, found.n_documents, found.check, examples, pool)


def scan(
    subject: Subject,
    readers: Sequence[Columns],
    batches: Iterable[WindowBatch],
    tallies: Sequence[Tally],
    progress: Callable[[int], None],
    workers: BatchReaders | None = None,
) -> None:
    """Adds the batches to each reader's tally: the model reads some while what it found in others is added up."""
    keep_freed_memory()
    with _here(subject, readers, batches) if workers is None else _elsewhere(workers, readers, batches) as found:
        for activated in found:
            for one, tally in zip(activated, tallies, strict=True):
                tally.add(one)
            progress(activated[0].batch.n_tokens)


_Found = Iterator[Sequence[BatchActivations]]
"""For each batch where the features of each reader activate."""


@contextmanager
def _here(subject: Subject, readers: Sequence[Columns], batches: Iterable[WindowBatch]) -> Iterator[_Found]:
    """Reads the batches in this process."""
    with (
        batch_activations(subject.model, readers, forward_tokens(subject)) as activations_in,
        _threads(subject) as n_threads,
    ):
        yield ahead(activations_in, batches, n_threads)


@contextmanager
def _elsewhere(workers: BatchReaders, readers: Sequence[Columns], batches: Iterable[WindowBatch]) -> Iterator[_Found]:
    """Has them read by workers, for one reader."""
    [columns] = readers
    with workers(columns.features, batches) as found:
        yield ([activated] for activated in found)


@contextmanager
def _threads(subject: Subject) -> Iterator[int]:
    """Returns how many threads read; on a CPU two that share its cores, since one leaves them idle at times."""
    cores = torch.get_num_threads()
    if subject.model.device.type != "cpu" or cores == 1:
        yield 1
        return
    torch.set_num_threads(cores // 2)
    try:
        yield 2
    finally:
        torch.set_num_threads(cores)


def keep_freed_memory() -> None:
    """Lets glibc reuse what is freed between batches; to return it to the system and ask for it again takes a fifth of
    a pass. Freeing one block just below its limit of 32 MiB raises its thresholds for good; no other library minds."""
    torch.empty(31 << 20, dtype=torch.uint8)


def forward_tokens(subject: Subject) -> int:
    """Tokens that go through the model at a time: on a CPU as many as its caches hold."""
    return 2048 if subject.model.device.type == "cpu" else BATCH_TOKENS


def _collected(tally: Tally, place: int, feature: int, spelling: Spelling) -> FeatureExamples:
    activity = tally.histograms.activity(place, feature, tally.n_tokens)
    top, sample = tally.kept(place)
    others = sample.rows[~np.isin(sample.names, top.names)]
    rows = np.concatenate([top.rows, others])
    tenths = stratum(rows["activations"].max(axis=1), np.full(len(rows), activity.maximum, dtype=np.float32)).tolist()
    examples = [_example(row, feature, tenth, spelling) for row, tenth in zip(rows, tenths, strict=True)]
    return FeatureExamples(feature, activity, examples)


def _example(row: Any, feature: int, tenth: int, spelling: Spelling) -> Example:
    length = int(row["length"])
    ids = tuple(row["ids"][:length].tolist())
    return Example(
        feature=feature,
        kind="activating",
        document=row["document"],
        tokens=spelling(ids),
        activations=tuple(row["activations"][:length].tolist()),
        token_ids=ids,
        start=int(row["start"]),
        quantile=tenth,
    )


def _pool(tally: Tally, features: Sequence[int], spelling: Spelling) -> WindowPool:
    rows = tally.pool.rows
    ids = [tuple(row["ids"][: row["length"]].tolist()) for row in rows]
    windows = tuple(
        PoolWindow(row["document"], int(row["start"]), i, spelling(i)) for row, i in zip(rows, ids, strict=True)
    )
    return WindowPool(windows, tuple(features), rows["peaks"])
