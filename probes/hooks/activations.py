"""Reads a model's states at the places where SAEs read, in one forward up to the deepest of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import local
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from probes.hooks.sites import Tap, tap
from probes.sae_config import Hook

Stream = Callable[[Int[Tensor, "batch pos"]], Float[Tensor, "batch pos d_model"]]
"""Token ids -> what the model has at a hook, in its dtype."""
Streams = Callable[[Int[Tensor, "batch pos"]], list[Tensor]]
"""Token ids -> what the model has at each of several hooks, [batch, pos, width of the hook], in its dtype."""


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
    with cut_at_last(model, [hook]) as streams:
        yield lambda ids: streams(ids)[0]


@contextmanager
def cut_at_last(model: PreTrainedModel, hooks: Sequence[Hook]) -> Iterator[Streams]:
    """While it lasts, every forward of `model` ends once it has been at all hooks; the value runs one, for all of them.

    As for `cut_at`. Hooks come in any order and may repeat.
    """
    places = {hook: tap(model, hook) for hook in hooks}
    seen = _Seen(len(places))

    @torch.inference_mode()
    def streams(ids: Int[Tensor, "batch pos"]) -> list[Tensor]:
        seen.states.clear()
        try:
            # the model without its unembedding, which nobody reads here
            model.base_model(input_ids=ids, use_cache=False)
        except _Reached:
            found = {hook: place.at_hook(seen.states[hook]) for hook, place in places.items()}
            seen.states.clear()
            return [found[hook] for hook in hooks]
        raise AssertionError(f"The forward of a {type(model).__name__} never reached {', '.join(map(str, places))}.")

    handles = [_register(place, hook, seen) for hook, place in places.items()]
    try:
        yield streams
    finally:
        for handle in handles:
            handle.remove()


class _Reached(Exception):  # noqa: N818, no error but the way out of a forward
    """Ends a forward that has run far enough."""


class _Seen(local):
    """The states at the hooks that the forward of a thread has passed so far."""

    def __init__(self, n_hooks: int) -> None:
        self._n_hooks = n_hooks
        self.states: dict[Hook, Tensor] = {}

    def note(self, hook: Hook, states: Tensor) -> None:
        """Keeps what is at the hook; raises _Reached if it is the last one."""
        is_last = len(self.states) + 1 == self._n_hooks
        self.states[hook] = states if is_last else states.clone()  # what comes later may write into it
        if is_last:
            raise _Reached


def _register(place: Tap, hook: Hook, seen: _Seen) -> Any:
    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.note(hook, args[0] if args else kwargs["hidden_states"])

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        seen.note(hook, output[0] if isinstance(output, tuple) else output)

    if place.side == "in":
        return place.module.register_forward_pre_hook(before, with_kwargs=True)
    return place.module.register_forward_hook(after)
