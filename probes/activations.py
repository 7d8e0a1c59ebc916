"""The residual stream where an SAE reads it. Knows no SAE and no subject."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from probes.sae_config import Hook
from probes.structure import layers_of


@torch.inference_mode()
def residual(
    model: PreTrainedModel,
    ids: Int[Tensor, "batch pos"],
    hook: Hook,
    attention_mask: Int[Tensor, "batch pos"] | None = None,
) -> Float[Tensor, "batch pos d_model"]:
    """The residual stream before or after block `hook.layer`, in the model's dtype.

    Taken at the layer itself: the last of a model's `hidden_states` has been through the final norm already.
    """
    found: list[Tensor] = []
    with _listening(layers_of(model)[hook.layer], hook, found):
        # the model without its unembedding, which nobody reads here
        model.base_model(input_ids=ids, attention_mask=attention_mask, use_cache=False)
    return found[0]


@contextmanager
def _listening(layer: nn.Module, hook: Hook, found: list[Tensor]) -> Iterator[None]:
    """While it lasts, what goes into (`pre`) or comes out of (`post`) the layer is put into `found`."""

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    if hook.side == "pre":
        handle = layer.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = layer.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
