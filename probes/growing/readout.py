"""A model's forward in two halves: up to its last hidden states, and from there to logits, a slice at a time.

A large batch suits the layers, a small one the unembedding, whose logits should stay within a processor's caches.
"""

import copy
import inspect
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from probes.growing.path_cache import PathCache
from probes.growing.transfer import sent


class Readout:
    """Both halves of one model. Whatever it does to logits (capping, scaling, a bias) is its own code's doing."""

    def __init__(self, model: PreTrainedModel, placeholder_id: int) -> None:
        self._model = model
        self._placeholder_id = placeholder_id
        self._head = _head_of(model)
        takes = inspect.signature(model.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.splits = self._splits()
        """False for the few models whose head cannot be run apart: their states are logits already."""

    def states(self, cache: PathCache, ids: Int[Tensor, "batch new"]) -> Float[Tensor, "batch hidden"]:
        """Returns the hidden states at the last position of each sequence, which attends to the cache's window."""
        ids = sent(ids, self._model.device)
        if self.splits:
            states: Tensor = self._model.base_model(input_ids=ids, past_key_values=cache, use_cache=True)[0]
            return states[:, -1].contiguous()  # else the unembedding is multiplied with each of them apart
        logits: Tensor = self._model(input_ids=ids, past_key_values=cache, use_cache=True, **self._last_only).logits
        return logits[:, -1]

    def logits(self, states: Float[Tensor, "batch hidden"]) -> Float[Tensor, "batch vocab"]:
        """In the model's precision; the placeholder's are minus infinity."""
        logits: Tensor = self._head(inputs_embeds=states[:, None]).logits[:, -1] if self.splits else states
        logits[:, self._placeholder_id] = -torch.inf
        return logits

    @torch.inference_mode()
    def _splits(self) -> bool:
        """Tells whether the two halves of the forward make the whole, as measured on one token."""
        ids = torch.tensor([[self._placeholder_id]], device=self._model.device)
        whole = self._model(input_ids=ids, use_cache=False).logits[:, -1]
        try:
            states = self._model.base_model(input_ids=ids, use_cache=False)[0]
            halves = self._head(inputs_embeds=states).logits[:, -1]
        except (AttributeError, TypeError, RuntimeError, ValueError):  # a head that wants more than states
            return False
        return halves.shape == whole.shape and torch.allclose(halves, whole, rtol=1e-3, atol=1e-3)


class _FixedStates(nn.Module):
    """Stands where a model's layers do, and returns the states it is given."""

    def forward(self, inputs_embeds: Tensor, **_kwargs: Any) -> BaseModelOutputWithPast:
        return BaseModelOutputWithPast(last_hidden_state=inputs_embeds)


def _head_of(model: PreTrainedModel) -> PreTrainedModel:
    """The model without its layers: a shallow copy that shares every weight, so the model itself stays as it is."""
    head = copy.copy(model)
    for patch in ("forward", "_old_forward", "_hf_hook"):  # accelerate's, which would run the whole model's layers
        head.__dict__.pop(patch, None)
    head._modules = {**model._modules, model.base_model_prefix: _FixedStates()}
    return head
