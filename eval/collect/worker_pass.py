"""A pass over a corpus by workers: each batch is read by one of them, and what activates in it comes back."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from agent.pool.thread import PoolThread
from eval.collect.batch_activations import batch_activations, in_order
from eval.collect.corpus_pass import forward_tokens
from eval.collect.tally import BatchActivations
from eval.collect.windows import WindowBatch
from probes.columns import Columns
from probes.subject import Subject

_COLUMNS: WeakKeyDictionary[Subject, Columns] = WeakKeyDictionary()
"""In a worker: the columns that the latest batch was read by."""


@contextmanager
def read_by(
    pool: PoolThread, features: Sequence[int], batches: Iterable[WindowBatch]
) -> Iterator[Iterator[BatchActivations]]:
    """Yields where the features activate in each batch, in order. Raises errors of reading and of workers."""
    sent: deque[WindowBatch] = deque()

    def submit(batch: WindowBatch) -> Future[Any]:
        sent.append(batch)
        return pool.submit(activations_in, tuple(features), batch)

    yield (BatchActivations(sent.popleft(), *found) for found in in_order(submit, batches, pool.n_places))


def activations_in(subject: Subject, features: Sequence[int], batch: WindowBatch) -> tuple[np.ndarray, ...]:
    """Rows, places, columns and values of what activates in a batch; in a worker. Raises ExamplesError."""
    columns = _COLUMNS.get(subject)
    if columns is None or columns.features != features:
        columns = _COLUMNS[subject] = Columns(subject.sae, features)
    with batch_activations(subject.model, [columns], forward_tokens(subject)) as activated:
        [found] = activated(batch)
    return found.rows, found.places, found.columns, found.values
