"""Measures the demo's model and SAE as such: losses, sparsity, reconstruction."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from probes.hooks.activations import residual
from probes.model.structure import layers_of
from probes.sae_config import Hook
from probes.subject import Subject

_ROWS = 64
_TOKENS = 8192


@dataclass(frozen=True)
class Measures:
    """Over all tokens of unseen text but `<bos>`."""

    n_tokens: int
    loss: float
    """Mean cross-entropy of the next token, in nats."""
    loss_with_sae: float
    """With the SAE's reconstruction in place of the residual stream."""
    loss_with_zero: float
    """With zeros in its place."""
    loss_recovered: float
    """1 where the SAE does no harm, 0 where it is no better than zeros."""
    l0: float
    """Features that activate per token."""
    explained_variance: float
    """1 - |x - x'|^2 / |x - mean x|^2, both summed over tokens."""
    dead_share: float
    """Features that never activated."""


@torch.inference_mode()
def residuals(model: PreTrainedModel, ids: Int[Tensor, "rows pos"], hook: Hook) -> Float[Tensor, "rows pos d_model"]:
    """The residual stream at the hook, a bounded number of rows at a time."""
    return torch.cat([residual(model, part, hook) for part in ids.split(_ROWS)])


@torch.inference_mode()
def measure(subject: Subject, ids: Int[Tensor, "rows pos"], x: Float[Tensor, "rows pos d_model"]) -> Measures:
    """The measures on `ids`, whose residual stream at the SAE's hook is `x`."""
    sae, kept = subject.sae, x[:, 1:].flatten(0, 1)
    activated = torch.cat([sae.encode(part) > 0 for part in kept.split(_TOKENS)])
    error = sum(float((sae.reconstruct(part) - part).square().sum()) for part in kept.split(_TOKENS))
    loss, with_sae, with_zero = (_loss(subject, ids, change) for change in (None, sae.reconstruct, torch.zeros_like))
    return Measures(
        n_tokens=len(kept),
        loss=loss,
        loss_with_sae=with_sae,
        loss_with_zero=with_zero,
        loss_recovered=(with_zero - with_sae) / (with_zero - loss),
        l0=float(activated.sum(1).float().mean()),
        explained_variance=1 - error / float((kept - kept.mean(0)).square().sum()),
        dead_share=float((~activated.any(0)).float().mean()),
    )


def next_token_loss(model: PreTrainedModel, ids: Int[Tensor, "rows pos"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of every next token, in nats."""
    logits = model(input_ids=ids, use_cache=False).logits
    targets = functional.pad(ids[:, 1:], (0, 1), value=-100)
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def _loss(subject: Subject, ids: Int[Tensor, "rows pos"], change: Callable[[Tensor], Tensor] | None) -> float:
    """The loss with `change` applied to the residual stream at the SAE's hook, `<bos>` left as it is."""

    def substitute(_module: nn.Module, _args: object, output: Tensor | tuple[Tensor, ...]) -> object:
        states = output[0] if isinstance(output, tuple) else output
        if change is not None:
            states = torch.cat([states[:, :1], change(states[:, 1:])], dim=1)
        return (states, *output[1:]) if isinstance(output, tuple) else states

    handle = layers_of(subject.model)[subject.card.layer].register_forward_hook(substitute)
    try:
        losses = [float(next_token_loss(subject.model, part)) * len(part) for part in ids.split(_ROWS)]
    finally:
        handle.remove()
    return sum(losses) / len(ids)
