"""The part of a pass that needs the model: batches of token ids -> where chosen features activate.

One forward cut at the deepest of the SAEs' hooks and one matrix product for each SAE at a time; what leaves the device
is what is active alone. Knows nothing of what is kept of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from eval.collect.tally import BatchActivations
from eval.collect.windows import WindowBatch
from eval.errors import ExamplesError
from probes.columns import Columns
from probes.hooks.activations import Streams, cut_at_last

_Active = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def batch_activations(
    model: PreTrainedModel, readers: Sequence[Columns], forward_tokens: int
) -> Iterator[Callable[[WindowBatch], list[BatchActivations]]]:
    """While it lasts, the value tells where the features of each of `readers` activate in a batch; for several threads
    at once.

    `forward_tokens` go through the model at a time, once for all readers. Raises ExamplesError, from within the value,
    where an activation is not a finite number.
    """
    with cut_at_last(model, [columns.sae.config.hook for columns in readers]) as streams:

        @torch.inference_mode()
        def activated(batch: WindowBatch) -> list[BatchActivations]:
            parts = [_part(model, readers, streams, batch, rows) for rows in batch.slices(forward_tokens)]
            return [
                BatchActivations(batch, *(np.concatenate(column) for column in zip(*of_one, strict=True)))
                for of_one in zip(*parts, strict=True)
            ]

        yield activated


def _part(
    model: PreTrainedModel, readers: Sequence[Columns], streams: Streams, batch: WindowBatch, part: slice
) -> list[_Active]:
    """Returns the active features in some rows of a batch, for each reader."""
    states = streams(torch.from_numpy(batch.ids[part, : batch.width(part)]).to(model.device))
    return [_active(columns, x, batch, part) for columns, x in zip(readers, states, strict=True)]


def _active(columns: Columns, x: Float[Tensor, "batch pos d_model"], batch: WindowBatch, part: slice) -> _Active:
    """Rows, places, columns and values of what activates in some rows of a batch."""
    scores = columns.scores(x.flatten(0, 1))
    where, values = _exceeding(scores, columns.threshold)
    # a norm is finite only where all numbers are, and none so large that a product with it could overflow
    if not (torch.linalg.vector_norm(x.float()).isfinite() and np.isfinite(values).all()):
        _refuse(columns, scores.unflatten(0, x.shape[:2]), batch, part.start)
    tokens, chosen = np.divmod(where, len(columns.features))
    rows, places = np.divmod(tokens, x.shape[1])
    counts = batch.counted[part.start + rows, places]
    return part.start + rows[counts], places[counts], chosen[counts], values[counts]


def _exceeding(
    scores: Float[Tensor, "n n_chosen"], threshold: Float[Tensor, " n_chosen"]
) -> tuple[Int[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Finds the scores that exceed their threshold, counted row by row, and their values; NumPy is faster at it on a
    CPU.
    """
    if scores.device.type == "cpu":
        numbers = scores.numpy()
        places = np.flatnonzero(numbers > threshold.numpy())
        return places, numbers.ravel()[places]
    there = (scores > threshold).flatten().nonzero().flatten()
    return there.cpu().numpy(), scores.flatten()[there].cpu().numpy()


def _refuse(columns: Columns, scores: Float[Tensor, "batch pos n_chosen"], batch: WindowBatch, first: int) -> None:
    """Raises ExamplesError where an activation that counts is no finite number; scores[0] is row `first` of `batch`."""
    counted = torch.from_numpy(batch.counted[first : first + len(scores), : scores.shape[1]]).to(scores.device)
    wrong = ~scores.isfinite() & counted[:, :, None]
    if not wrong.any():
        return
    row, place, chosen = wrong.nonzero()[0].tolist()
    raise ExamplesError(
        f"Feature {columns.features[chosen]} has the activation {float(scores[row, place, chosen])} in document "
        f"{batch.documents[first + row]}; the model's weights are damaged, or its number format overflows there."
    )


def ahead(function: Callable[[_Item], _Result], items: Iterable[_Item], n_threads: int) -> Iterator[_Result]:
    """`map`, with `n_threads` working ahead of whoever takes the results; in order, and never far ahead."""
    with ThreadPoolExecutor(n_threads) as pool:
        yield from in_order(lambda item: pool.submit(function, item), items, n_threads)


def in_order(submit: Callable[[_Item], Future[_Result]], items: Iterable[_Item], n_ahead: int) -> Iterator[_Result]:
    """Yields what comes of each item, in their order, with `n_ahead` submitted beyond the one that is waited for."""
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) > n_ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
