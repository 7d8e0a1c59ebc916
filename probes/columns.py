"""Chosen features of an SAE without the others: only their encoder columns, where the activation rule allows it.

relu, jumprelu and gated look at one feature at a time, so each of theirs is an affine map and a threshold. Top-k and
matching pursuit compare all features of a token and need every one. The plain formulas are `SAE.encode`'s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.model.products import linear
from probes.sae import SAE

COMPARING = ("topk", "abs_topk", "matching_pursuit")
"""Architectures in which a feature's activation hangs on the others."""
_ELEMENTS = 1 << 24
"""Most pre-activations held at once where all features of a token are needed: 64 MiB."""


@dataclass(frozen=True, eq=False)
class PreActivations:
    """Some features' activations are x W + b where that exceeds the threshold, x normalised but b_dec not taken off."""

    weights: Float[Tensor, "d_model n_chosen"]
    bias: Float[Tensor, " n_chosen"]
    threshold: Float[Tensor, " n_chosen"]
    """NaN where what a feature must exceed hangs on the other features, as in top-k."""

    def times(self, factor: Float[Tensor, " n_chosen"]) -> "PreActivations":
        """Returns an SAE whose activations are so many times as large; a factor of 0 leaves nothing that exceeds its
        threshold.
        """
        return PreActivations(self.weights * factor, self.bias * factor, self.threshold * factor)


class Columns:
    """Reads `features` off residual-stream vectors, in the order given. Immutable; may be shared between threads."""

    def __init__(self, sae: SAE, features: Sequence[int]) -> None:
        self.sae = sae
        self.features = tuple(features)
        self._chosen = torch.tensor(self.features, dtype=torch.long, device=sae.device)
        self._folded: PreActivations | None = None
        self.threshold: Float[Tensor, " n_chosen"] = torch.zeros(len(self.features), device=sae.device)
        """What `scores` must exceed to be activations; never negative."""
        if sae.config.architecture not in COMPARING:
            self._folded = pre_activations(sae, self._chosen)
            self.threshold = self._folded.threshold.clamp(min=0)

    def scores(self, activations: Float[Tensor, "n d_model"]) -> Float[Tensor, "n n_chosen"]:
        """Numbers that are the features' activations where they exceed `threshold` and mean nothing elsewhere.

        Takes residual-stream vectors as the model has them, in any dtype; gives float32.
        """
        if self._folded is None:
            rows = max(1, _ELEMENTS // self.sae.config.n_features)
            return torch.cat([self.sae.encode(part)[:, self._chosen] for part in activations.split(rows)])
        return linear(self.sae.normalised(activations.float()), self._folded.weights.T, self._folded.bias)

    def encode(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch n_chosen"]:
        """The features' activations: the columns of what `SAE.encode` gives."""
        scores = self.scores(activations.flatten(0, -2)).unflatten(0, activations.shape[:-1])
        return torch.where(scores > self.threshold, scores, 0)

    def own(self, activations: Float[Tensor, "n pos d_model"], places: Int[Tensor, " n"]) -> Float[Tensor, "n pos"]:
        """Each sequence's own feature, the one at its place among `features`: the same numbers from fewer products."""
        if self._folded is None:
            return self.encode(activations).take_along_dim(places[:, None, None], dim=-1).squeeze(-1)
        weights, bias, threshold = self._folded.weights.T[places], self._folded.bias[places], self.threshold[places]
        normalised = self.sae.normalised(activations.float())
        scores = (normalised @ weights[:, :, None]).squeeze(-1) + bias[:, None]
        return torch.where(scores > threshold[:, None], scores, 0)


def pre_activations(sae: SAE, chosen: Int[Tensor, " n_chosen"]) -> PreActivations:
    """The features' pre-activations as an affine map of what the SAE sees, whatever its activation rule.

    Of a gated SAE it is the magnitude, of which the gate is a threshold.
    """
    encoder = sae.encoder_rows(chosen).T
    shift = sae.b_dec @ encoder if sae.config.subtracts_b_dec else torch.zeros_like(encoder[0])
    folded = _FOLDS[sae.config.architecture](sae, chosen, encoder, shift)
    return folded.times(sae.decoder_rows(chosen).norm(dim=-1)) if sae.config.scales_by_decoder_norm else folded


def _standard(sae: SAE, chosen: Tensor, encoder: Tensor, shift: Tensor) -> PreActivations:
    assert sae.b_enc is not None
    return PreActivations(encoder.contiguous(), sae.b_enc[chosen] - shift, torch.zeros_like(shift))


def _topk(sae: SAE, chosen: Tensor, encoder: Tensor, shift: Tensor) -> PreActivations:
    return replace(_standard(sae, chosen, encoder, shift), threshold=torch.full_like(shift, torch.nan))


def _jumprelu(sae: SAE, chosen: Tensor, encoder: Tensor, shift: Tensor) -> PreActivations:
    assert sae.b_enc is not None
    assert sae.threshold is not None
    return PreActivations(encoder.contiguous(), sae.b_enc[chosen] - shift, sae.threshold[chosen])


def _gated(sae: SAE, chosen: Tensor, encoder: Tensor, shift: Tensor) -> PreActivations:
    """The gate x w + b_gate > 0 is m > b_mag - b_gate e^r in terms of the magnitude m = e^r x w + b_mag."""
    assert sae.b_gate is not None
    assert sae.b_mag is not None
    assert sae.r_mag is not None
    scale, b_mag, b_gate = sae.r_mag[chosen].exp(), sae.b_mag[chosen], sae.b_gate[chosen]
    return PreActivations((encoder * scale).contiguous(), b_mag - shift * scale, b_mag - b_gate * scale)


_FOLDS: dict[str, Callable[[SAE, Tensor, Tensor, Tensor], PreActivations]] = {
    "standard": _standard,
    "topk": _topk,
    "abs_topk": _topk,
    "matching_pursuit": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
}
"""From an SAE, some features, their encoder columns, and what taking b_dec off the input takes off their x W."""
