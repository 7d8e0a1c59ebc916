"""Records the inputs and outputs of one block's modules during a short forward."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

IDS = (5, 3, 7, 4)
"""Of the watched forward; any tokens do."""


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call of a module."""

    module: nn.Module
    read: Tensor
    gave: Tensor


def watched(model: PreTrainedModel, layer: nn.Module) -> list[ModuleCall]:
    """The calls of a block's modules in a short forward, in the order in which they end: the block's own is last."""
    calls: list[ModuleCall] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        read = args[0] if args else kwargs.get("hidden_states", next(iter(kwargs.values()), None))
        gave = output[0] if isinstance(output, tuple) else output
        if isinstance(read, Tensor) and isinstance(gave, Tensor):
            calls.append(ModuleCall(module, read, gave))
        if module is layer:
            raise _SeenError

    ids = torch.tensor([IDS], device=model.device)
    with _hooked(layer, note), torch.inference_mode():
        try:
            model.base_model(input_ids=ids, use_cache=False)
        except _SeenError:
            return calls
    raise AssertionError(f"The forward of a {type(model).__name__} never ran the block.")


@contextmanager
def _hooked(layer: nn.Module, note: Callable[..., None]) -> Iterator[None]:
    handles = [module.register_forward_hook(note, with_kwargs=True) for module in layer.modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _SeenError(Exception):
    """The way out of a forward whose block has been seen."""
