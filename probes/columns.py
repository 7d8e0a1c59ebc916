"""Chosen features of an SAE without the others: only their encoder columns, where the activation rule allows it.

relu, jumprelu and gated look at one feature at a time, so each of theirs is an affine map and a threshold. Top-k compares
all features of a token and needs every pre-activation. Knows no model; the plain formulas are `SAE.encode`'s.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from probes.sae import SAE

_ELEMENTS = 1 << 24
"""Most pre-activations held at once where all features of a token are needed: 64 MiB."""


class Columns:
    """Reads `features` off residual-stream vectors, in the order given. Immutable; may be shared between threads."""

    def __init__(self, sae: SAE, features: Sequence[int]) -> None:
        self.sae = sae
        self.features = tuple(features)
        self._chosen = torch.tensor(self.features, dtype=torch.long, device=sae.W_enc.device)
        self._whole = sae.config.architecture == "topk"
        self.threshold: Float[Tensor, " n_chosen"] = torch.zeros(len(self.features), device=sae.W_enc.device)
        """What `scores` must exceed to be activations; never negative."""
        if not self._whole:
            W, b, threshold = _FOLDS[sae.config.architecture](sae)
            b = b - sae.b_dec @ W if sae.config.subtracts_b_dec else b
            self._W, self._b = W[:, self._chosen].contiguous(), b[self._chosen].contiguous()
            self.threshold = threshold[self._chosen].clamp(min=0).contiguous()

    def scores(self, activations: Float[Tensor, "n d_model"]) -> Float[Tensor, "n n_chosen"]:
        """Numbers that are the features' activations where they exceed `threshold` and mean nothing elsewhere.

        Takes residual-stream vectors as the model has them, in any dtype; gives float32.
        """
        if self._whole:
            rows = max(1, _ELEMENTS // self.sae.config.n_features)
            return torch.cat([self.sae.encode(part)[:, self._chosen] for part in activations.split(rows)])
        return torch.addmm(self._b, self.sae.normalised(activations.float()), self._W)

    def encode(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch n_chosen"]:
        """The features' activations: the columns of what `SAE.encode` gives."""
        scores = self.scores(activations.flatten(0, -2)).unflatten(0, activations.shape[:-1])
        return scores.where(scores > self.threshold, 0)


Folded = tuple[Tensor, Tensor, Tensor]
"""W, b and threshold: activations are x W + b where that exceeds the threshold, for x normalised and less b_dec."""


def _standard(sae: SAE) -> Folded:
    assert sae.b_enc is not None
    return sae.W_enc, sae.b_enc, torch.zeros_like(sae.b_enc)


def _jumprelu(sae: SAE) -> Folded:
    assert sae.b_enc is not None
    assert sae.threshold is not None
    return sae.W_enc, sae.b_enc, sae.threshold


def _gated(sae: SAE) -> Folded:
    """The gate x w + b_gate > 0 is m > b_mag - b_gate e^r in terms of the magnitude m = e^r x w + b_mag."""
    assert sae.b_gate is not None
    assert sae.b_mag is not None
    assert sae.r_mag is not None
    scale = sae.r_mag.exp()
    return sae.W_enc * scale, sae.b_mag, sae.b_mag - sae.b_gate * scale


_FOLDS: dict[str, Callable[[SAE], Folded]] = {"standard": _standard, "jumprelu": _jumprelu, "gated": _gated}
