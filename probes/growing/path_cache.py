"""A key-value cache for trees: each token's keys and values are stored once, a sequence is a path of rows of it.

So a branch costs no copy of its trunk: a batch gathers its ancestors layer by layer, and only for as long as that layer
computes. Plugs into transformers as a `Cache`; knows nothing of tokens, probabilities or features.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DummyLayer, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from probes.errors import SubjectError


class _Store:
    """Rows of keys, or of values, of one layer."""

    def __init__(self) -> None:
        self.rows: Tensor | None = None

    def write(self, states: Float[Tensor, "batch heads new dim"], rows: Int[Tensor, " batch*new"], n_rows: int) -> None:
        """Puts the states, sequence by sequence, into `rows`, of `n_rows` in all."""
        new = states.transpose(1, 2).flatten(0, 1)
        if self.rows is None:  # all at once: a store that grew would stand in memory twice while it did
            self.rows = new.new_empty(n_rows, *new.shape[1:])
        self.rows[rows] = new

    def read(self, paths: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch heads pos dim"]:
        assert self.rows is not None
        return self.rows.index_select(0, paths.flatten()).view(*paths.shape, *self.rows.shape[1:]).transpose(1, 2)

    @property
    def row_bytes(self) -> int:
        return self.rows[0].nbytes if self.rows is not None else 0


@dataclass
class _Window:
    """The rows that the next forward may attend to, for every sequence; it writes the last `n_new` itself."""

    paths: Tensor
    n_new: int


class _PathLayer(DynamicLayer):  # type: ignore[misc]
    """One layer: stores what is new, returns what the window shows. Sliding windows are the mask's business."""

    _layer_type = None  # else transformers would use this class for every model's cache

    def __init__(self, cache: "PathCache") -> None:
        super().__init__()
        self._cache = cache
        self._keys, self._values = _Store(), _Store()

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        window = self._cache.window
        paths = window.paths.to(key_states.device)  # a model may lie on several devices
        new = paths[:, paths.shape[1] - window.n_new :].flatten()
        self._keys.write(key_states, new, self._cache.n_rows)
        self._values.write(value_states, new, self._cache.n_rows)
        return self._keys.read(paths), self._values.read(paths)

    def get_seq_length(self) -> int:
        window = self._cache.window
        return window.paths.shape[1] - window.n_new

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    @property
    def row_bytes(self) -> int:
        return self._keys.row_bytes + self._values.row_bytes


class PathCache(Cache):  # type: ignore[misc]
    """The cache of one batch of trees. Raises SubjectError for models that keep more than keys and values."""

    def __init__(self, model: PreTrainedModel, n_rows: int) -> None:
        plain = DynamicCache(config=model.config).layers
        if not plain or any(type(layer) not in _KNOWN for layer in plain):
            raise _unfit(model)
        super().__init__(layers=[layer if type(layer) is DummyLayer else _PathLayer(self) for layer in plain])
        self._model = model
        self.n_rows = n_rows
        """How many tokens it can hold; memory for all of them is taken by the first forward."""
        self.window = _Window(torch.empty(0, 0, dtype=torch.long), 0)

    def see(self, paths: Int[Tensor, "batch pos"], n_new: int) -> None:
        """The next forward's sequences see the rows `paths`, whose last `n_new` it writes."""
        self.window = _Window(paths, n_new)

    @property
    def row_bytes(self) -> int:
        """Bytes that one token takes, over all layers; asked after the first forward.

        Raises SubjectError for a model that has kept nothing here: it keeps what it knows of earlier tokens elsewhere.
        """
        found = sum(layer.row_bytes for layer in self.layers if isinstance(layer, _PathLayer))
        if not found:
            raise _unfit(self._model)
        return found


def _unfit(model: PreTrainedModel) -> SubjectError:
    return SubjectError(f"Trees need a model that attends to keys and values only; {type(model).__name__} does not.")


_KNOWN = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
"""The last has nothing of its own: a layer that reads the keys and values of an earlier one, as in Gemma 3n and 4."""
