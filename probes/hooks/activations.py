"""Reads a model's states at the place where an SAE reads, and the activations of chosen features there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from probes.hooks.sites import tap
from probes.sae_config import Hook

Stream = Callable[[Int[Tensor, "batch pos"]], Float[Tensor, "batch pos d_model"]]
"""Token ids -> what the model has at a hook, in its dtype."""


def residual(model: PreTrainedModel, ids: Int[Tensor, "batch pos"], hook: Hook) -> Float[Tensor, "batch pos d_model"]:
    """Returns the model's states at the hook: the residual stream before or after a block, or a site within it.

    In the model's dtype; no layer above is run. Taken at the layer itself: the last of a model's `hidden_states` has
    been through the final norm already. Raises SubjectError where the model has no such place.
    """
    with cut_at(model, hook) as stream:
        return stream(ids)


@contextmanager
def cut_at(model: PreTrainedModel, hook: Hook) -> Iterator[Stream]:
    """While it lasts, every forward of `model` ends at the hook; the value runs one and gives what it ends with.

    The value may be called from several threads at once. Raises SubjectError where the model has no such place.
    """
    place = tap(model, hook)

    @torch.inference_mode()
    def stream(ids: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        try:
            # the model without its unembedding, which nobody reads here
            model.base_model(input_ids=ids, use_cache=False)
        except _Reached as reached:
            return place.at_hook(reached.states)
        raise AssertionError(f"The forward of a {type(model).__name__} never reached {hook}.")

    if place.side == "in":
        handle = place.module.register_forward_pre_hook(_stop_before, with_kwargs=True)
    else:
        handle = place.module.register_forward_hook(_stop_after)
    try:
        yield stream
    finally:
        handle.remove()


class _Reached(Exception):  # noqa: N818, no error but the way out of a forward
    """Carries what is at the hook out of a forward that has run far enough."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _stop_before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
    raise _Reached(args[0] if args else kwargs["hidden_states"])


def _stop_after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> NoReturn:
    raise _Reached(output[0] if isinstance(output, tuple) else output)
