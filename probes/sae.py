"""A sparse autoencoder as a value: its tensors, and how it reads activations.

`W_enc [d_model, n_features]`, `W_dec [n_features, d_model]` always; what is computed is float32 always. Architectures
and normalisations as SAELens defines them for inference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from probes.errors import SubjectError
from probes.sae_config import SaeConfig

_LAYER_NORM_EPS = 1e-5
"""SAELens' and OpenAI's."""
_STAY = ("W_enc", "W_dec")


@dataclass(frozen=True, eq=False)
class SAE:
    """The tensors of an SAE; what its architecture does not have is None.

    The two large ones may be views of their file in any float format, of which only what is touched is ever read:
    take `encoder_rows` and `decoder_rows` for some features, `encoder` and `decoder` for all.
    """

    config: SaeConfig
    W_enc: Float[Tensor, "d_model n_features"]
    W_dec: Float[Tensor, "n_features *targets d_out"]
    """A cross-layer transcoder's has a row for each layer that it writes to; what is taken of it is their sum."""
    b_dec: Float[Tensor, " d_out"]
    b_enc: Float[Tensor, " n_features"] | None = None
    threshold: Float[Tensor, " n_features"] | None = None
    """jumprelu: pre-activations at or below it are zero."""
    b_gate: Float[Tensor, " n_features"] | None = None
    b_mag: Float[Tensor, " n_features"] | None = None
    r_mag: Float[Tensor, " n_features"] | None = None
    W_skip: Float[Tensor, "d_model d_out"] | None = None
    """A skip transcoder's way past the features, from activations as the model has them."""
    input_scale: float = 1.0
    """What activations are multiplied by before anything else."""
    output_scale: float = 1.0
    """A transcoder's: what the model's own output was multiplied by when it learnt to write it."""

    def encode(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch n_features"]:
        """Feature activations of what the model has at the hook; any dtype in, float32 out."""
        normalised, _, _ = self._normalised(activations.float())
        centred = normalised - self.b_dec if self.config.subtracts_b_dec else normalised
        features: Tensor = _ACTIVATIONS[self.config.architecture](self, centred)
        if self.config.scales_by_decoder_norm and self.config.architecture not in ("topk", "abs_topk"):
            features = features * self.decoder_lengths
        return features

    def reconstruct(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_out"]:
        """Returns the SAE's output for `activations`, in the units of where it writes; summed over several such places.

        Centred over d_model where the SAE centres what it reads.
        """
        features = self.encode(activations)
        if self.config.scales_by_decoder_norm:
            features = features / self.decoder_lengths.clamp(min=1e-12)
        written = features @ self.decoder + self.b_dec
        if self.config.hook_out is None:
            _, scale, shift = self._normalised(activations.float())
            written = written * scale + shift
        else:
            written = written / self.output_scale
        return written if self.W_skip is None else written + activations.float() @ self.W_skip

    def unit(self, activations: Float[Tensor, "*batch d_model"]) -> Tensor:
        """Returns the factor of a decoder row, per unit of activation, that brings it to the units of where the SAE
        writes.

        `activations` are what it reads. [*batch 1] where it normalises each of them by its own size, else one number.
        """
        if self.config.hook_out is not None:
            return activations.new_tensor(1 / self.output_scale, dtype=torch.float32)
        return self._normalised(activations.float())[1]

    def normalised(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Returns the SAE's input made of the model's states at the hook, before b_dec is subtracted."""
        return self._normalised(activations)[0]

    def encoder_rows(self, features: Sequence[int] | Tensor) -> Float[Tensor, "n d_model"]:
        """The encoder's columns of some features, as rows; only these are read. Raises SubjectError."""
        return self._ready(self.W_enc.T[self._index(features, self.W_enc)], "W_enc")

    def decoder_rows(self, features: Sequence[int] | Tensor) -> Float[Tensor, "n d_out"]:
        """The decoder's rows of some features; only these are read. Raises SubjectError."""
        return self._ready(_summed(self.W_dec[self._index(features, self.W_dec)]), "W_dec")

    @cached_property
    def encoder(self) -> Float[Tensor, "d_model n_features"]:
        """`W_enc` ready to compute with. Raises SubjectError where it holds numbers that are not finite."""
        return self._ready(self.W_enc, "W_enc")

    @cached_property
    def decoder(self) -> Float[Tensor, "n_features d_out"]:
        """`W_dec` ready to compute with. Raises SubjectError where it holds numbers that are not finite."""
        return self._ready(_summed(self.W_dec), "W_dec")

    def at_target(self, layer: int) -> Self:
        """A cross-layer transcoder's decoder for one of the layers it writes to. Raises SubjectError."""
        first, last = self.config.hook_out, self.config.last_target
        if first is None or last is None:
            raise SubjectError(f"The SAE writes at one place, so no layer {layer} of its decoder can be named.")
        if not first.layer <= layer <= last:
            raise SubjectError(f"The transcoder has no decoder for layer {layer}, only for {first.layer} to {last}.")
        config = replace(self.config, hook_out=replace(first, layer=layer), last_target=None)
        return replace(self, config=config, W_dec=self.W_dec[:, layer - first.layer])

    @cached_property
    def decoder_lengths(self) -> Float[Tensor, " n_features"]:
        """The Euclidean lengths of the decoder's rows."""
        lengths: Tensor = self.decoder.norm(dim=-1)
        return lengths

    @property
    def device(self) -> torch.device:
        """Returns the device that it computes on."""
        return self.b_dec.device

    def to(self, device: torch.device | str) -> Self:
        """The same SAE computing on another device; the large tensors follow when and as far as they are used."""
        names = (f.name for f in fields(self) if f.name not in _STAY)
        tensors = {name: value for name in names if isinstance(value := getattr(self, name), Tensor)}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)

    def scaled(self, factor: float) -> Self:
        """The same SAE, what it reads multiplied by `factor` first, besides what is done already."""
        return replace(self, input_scale=self.input_scale * factor)

    def _index(self, features: Sequence[int] | Tensor, matrix: Tensor) -> Tensor:
        return torch.as_tensor(features, dtype=torch.long).to(matrix.device)

    def _ready(self, tensor: Tensor, name: str) -> Tensor:
        ready = tensor.to(self.device, torch.float32)
        if not ready.isfinite().all():
            raise SubjectError(f"The SAE's {name} holds numbers that are not finite; download its weights again.")
        return ready

    def _normalised(self, activations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x', and the scale and shift that undo it: x is x' * scale + shift, but for what layer_norm adds to the scale.

        SAELens and OpenAI divide by the deviation plus a little, and multiply by the deviation alone.
        """
        if self.config.centres_input:
            activations = activations - activations.mean(-1, keepdim=True)
        scale, shift = activations.new_tensor(1 / self.input_scale), activations.new_zeros(())
        match self.config.normalization:
            case "constant_norm_rescale":
                scale = activations.norm(dim=-1, keepdim=True) / self.config.d_model**0.5
            case "layer_norm":
                shift = activations.mean(-1, keepdim=True)
                scale = (activations - shift).std(-1, keepdim=True)
                return (activations - shift) / (scale + _LAYER_NORM_EPS), scale, shift
        return (activations - shift) / scale, scale, shift


def _summed(rows: Tensor) -> Tensor:
    """Over the layers that are written to, where there are several; in float32, as bfloat16 forgets small parts."""
    return rows.sum(1, dtype=torch.float32) if rows.ndim == 3 else rows


def _standard(sae: SAE, centred: Tensor) -> Tensor:
    return _pre_activations(sae, centred).relu()


def _topk(sae: SAE, centred: Tensor) -> Tensor:
    pre = _pre_activations(sae, centred)
    if sae.config.scales_by_decoder_norm:
        pre = pre * sae.decoder_lengths
    ranked = pre * sae.decoder_lengths if sae.config.ranks_by_decoder_norm else pre
    is_signed = sae.config.architecture == "abs_topk"
    ranked = ranked.abs() if is_signed else ranked
    kept = ranked.topk(min(sae.config.k or 0, pre.shape[-1]), dim=-1).indices
    values = pre.gather(-1, kept)
    return torch.zeros_like(pre).scatter(-1, kept, values if is_signed else values.relu())


def _jumprelu(sae: SAE, centred: Tensor) -> Tensor:
    pre = _pre_activations(sae, centred)
    assert sae.threshold is not None
    return pre.relu() * (pre > sae.threshold)


def _gated(sae: SAE, centred: Tensor) -> Tensor:
    assert sae.b_gate is not None
    assert sae.b_mag is not None
    assert sae.r_mag is not None
    projected = centred @ sae.encoder
    return (projected * sae.r_mag.exp() + sae.b_mag).relu() * (projected + sae.b_gate > 0)


def _matching_pursuit(sae: SAE, centred: Tensor) -> Tensor:
    """Takes the feature whose row has the largest product with what is left, takes it off, and so on.

    After SAELens' `MatchingPursuitSAE`: a feature that comes again is added to, and ends it unless the SAE goes on.
    """
    rows, pursuit = sae.decoder, sae.config.pursuit
    assert pursuit is not None
    left = centred.reshape(-1, centred.shape[-1]).clone()
    found = left.new_zeros(len(left), len(rows))
    todo = torch.arange(len(left), device=left.device)
    for _ in range(pursuit.max_iterations):
        if not len(todo):
            break
        values, features = (left[todo] @ rows.T).relu().max(dim=-1)
        goes_on = values > 0
        if pursuit.stops_at_repeats:
            goes_on &= found[todo, features] == 0
        found[todo, features] += values
        left[todo] -= values[:, None] * rows[features]
        if pursuit.residual_threshold > 0:
            goes_on &= left[todo].norm(dim=-1) >= pursuit.residual_threshold
        todo = todo[goes_on]
    return found.reshape(*centred.shape[:-1], len(rows))


def _pre_activations(sae: SAE, centred: Tensor) -> Tensor:
    assert sae.b_enc is not None
    return centred @ sae.encoder + sae.b_enc


_ACTIVATIONS: dict[str, Callable[[SAE, Tensor], Tensor]] = {
    "standard": _standard,
    "topk": _topk,
    "abs_topk": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
    "matching_pursuit": _matching_pursuit,
}
