"""A sparse autoencoder as a value: its tensors, and how it reads activations.

Knows no model and no hub. `W_enc [d_model, n_features]`, `W_dec [n_features, d_model]` always; float32 always.
Architectures and normalisations as SAELens defines them for inference.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from probes.errors import SubjectError
from probes.sae_config import SaeConfig, read_config

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"

_LAYER_NORM_EPS = 1e-5
"""SAELens'."""


@dataclass(frozen=True, eq=False)
class SAE:
    """The tensors of an SAE; what its architecture does not have is None."""

    config: SaeConfig
    W_enc: Float[Tensor, "d_model n_features"]
    W_dec: Float[Tensor, "n_features d_model"]
    b_dec: Float[Tensor, " d_model"]
    b_enc: Float[Tensor, " n_features"] | None = None
    threshold: Float[Tensor, " n_features"] | None = None
    """jumprelu: pre-activations at or below it are zero."""
    b_gate: Float[Tensor, " n_features"] | None = None
    b_mag: Float[Tensor, " n_features"] | None = None
    r_mag: Float[Tensor, " n_features"] | None = None
    input_scale: float = 1.0
    """What activations are multiplied by before anything else."""

    def encode(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch n_features"]:
        """Feature activations of residual-stream vectors as the model has them; any dtype in, float32 out."""
        normalised, _, _ = self._normalised(activations.float())
        centred = normalised - self.b_dec if self.config.subtracts_b_dec else normalised
        return _ACTIVATIONS[self.config.architecture](self, centred)

    def reconstruct(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the SAE makes of `activations`, in their own units (centred over d_model where the SAE centres them)."""
        _, scale, shift = self._normalised(activations.float())
        features = self.encode(activations)
        if self.config.scales_by_decoder_norm:
            features = features / self.W_dec.norm(dim=-1).clamp(min=1e-12)
        return (features @ self.W_dec + self.b_dec) * scale + shift

    def normalised(self, activations: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """What the SAE sees of residual-stream vectors, before b_dec is taken off."""
        return self._normalised(activations)[0]

    def to(self, device: torch.device | str) -> Self:
        """The same SAE on another device."""
        tensors = {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}
        moved: dict[str, Any] = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, **moved)

    def _normalised(self, activations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x', scale and shift with x = x' * scale + shift."""
        if self.config.centres_input:
            activations = activations - activations.mean(-1, keepdim=True)
        scale, shift = activations.new_tensor(1 / self.input_scale), activations.new_zeros(())
        match self.config.normalization:
            case "constant_norm_rescale":
                scale = activations.norm(dim=-1, keepdim=True) / self.config.d_model**0.5
            case "layer_norm":
                shift = activations.mean(-1, keepdim=True)
                scale = (activations - shift).std(-1, keepdim=True) + _LAYER_NORM_EPS
        return (activations - shift) / scale, scale, shift


def _standard(sae: SAE, centred: Tensor) -> Tensor:
    return _pre_activations(sae, centred).relu()


def _topk(sae: SAE, centred: Tensor) -> Tensor:
    pre = _pre_activations(sae, centred)
    if sae.config.scales_by_decoder_norm:
        pre = pre * sae.W_dec.norm(dim=-1)
    top = pre.topk(min(sae.config.k or 0, pre.shape[-1]), dim=-1)
    return torch.zeros_like(pre).scatter(-1, top.indices, top.values.relu())


def _jumprelu(sae: SAE, centred: Tensor) -> Tensor:
    pre = _pre_activations(sae, centred)
    assert sae.threshold is not None
    return pre.relu() * (pre > sae.threshold)


def _gated(sae: SAE, centred: Tensor) -> Tensor:
    assert sae.b_gate is not None
    assert sae.b_mag is not None
    assert sae.r_mag is not None
    projected = centred @ sae.W_enc
    return (projected * sae.r_mag.exp() + sae.b_mag).relu() * (projected + sae.b_gate > 0)


def _pre_activations(sae: SAE, centred: Tensor) -> Tensor:
    assert sae.b_enc is not None
    return centred @ sae.W_enc + sae.b_enc


_ACTIVATIONS: dict[str, Callable[[SAE, Tensor], Tensor]] = {
    "standard": _standard,
    "topk": _topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
}
_OWN_TENSORS: dict[str, tuple[str, ...]] = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
}
"""The tensors, one number per feature, that each architecture has besides W_enc, W_dec and b_dec."""


def read_sae(folder: Path, input_scale: float = 1.0) -> SAE:
    """The SAE in a SAELens folder: `cfg.json` and `sae_weights.safetensors`.

    Raises SubjectError where a file or tensor is missing, has another shape than the configuration says, is not finite,
    or belongs to a kind of SAE that is not supported.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise SubjectError(_without_config(folder))
    config = read_config(folder / CONFIG_FILE)
    path = folder / WEIGHTS_FILE
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SubjectError(f"SAE weights {path} cannot be read: {error}.") from error
    n, d = config.n_features, config.d_model
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (d, n), "W_dec": (n, d), "b_dec": (d,)}
    shapes |= dict.fromkeys(_OWN_TENSORS[config.architecture], (n,))
    tensors = {name: _tensor(stored, name, shape, path) for name, shape in shapes.items()}
    if "scaling_factor" in stored:  # multiplies activations before the decoder, which is the same as longer rows
        tensors["W_dec"] = tensors["W_dec"] * _tensor(stored, "scaling_factor", (n,), path)[:, None]
    return SAE(config=config, input_scale=input_scale, **tensors)


def _tensor(stored: Mapping[str, Tensor], name: str, shape: tuple[int, ...], path: Path) -> Tensor:
    if name not in stored:
        raise SubjectError(f"SAE weights {path} have no tensor {name}, only {', '.join(sorted(stored))}.")
    tensor = stored[name].float()
    if tuple(tensor.shape) != shape:
        have, want = list(tensor.shape), list(shape)
        raise SubjectError(f"SAE weights {path}: {name} has shape {have}, but {CONFIG_FILE} asks for {want}.")
    if not tensor.isfinite().all():
        raise SubjectError(f"SAE weights {path}: {name} holds numbers that are not finite.")
    return tensor.contiguous()


def _without_config(folder: Path) -> str:
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}"))
    if inside:
        some = ", ".join(inside[:4]) + (", ..." if len(inside) > 4 else "")
        return f"SAE folder {folder} holds SAEs in subfolders ({some}); name one as {folder}:{inside[0]}."
    return f"SAE folder {folder} has no {CONFIG_FILE}; give a folder in SAELens' format, or REPO:SUBFOLDER on the hub."
