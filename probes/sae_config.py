"""What an SAE's `cfg.json`, as SAELens writes it (version 6) or wrote it (flat), says of how it reads. No tensors."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from probes.errors import SubjectError

Architecture = Literal["standard", "topk", "jumprelu", "gated"]
Normalization = Literal["none", "constant_norm_rescale", "layer_norm"]

_ARCHITECTURES: dict[str, Architecture] = {
    "standard": "standard",
    "relu": "standard",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
}
_NORMALIZATIONS: dict[str, Normalization] = {
    "none": "none",
    # its factor is folded into the weights before they are saved for use, so nothing is left to do
    "expected_average_only_in": "none",
    "constant_norm_rescale": "constant_norm_rescale",
    "layer_norm": "layer_norm",
}
_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(post|pre)")


@dataclass(frozen=True)
class Hook:
    """A place in the residual stream: before or after one of the model's blocks."""

    layer: int
    side: Literal["pre", "post"]

    def __str__(self) -> str:
        return f"blocks.{self.layer}.hook_resid_{self.side}"


@dataclass(frozen=True)
class SaeConfig:
    """What an SAE's configuration says about reading activations."""

    architecture: Architecture
    d_model: int
    n_features: int
    hook: Hook
    normalization: Normalization = "none"
    subtracts_b_dec: bool = True
    """Whether the decoder's bias is taken off the input."""
    k: int | None = None
    """Features kept by topk."""
    scales_by_decoder_norm: bool = False
    """topk: whether pre-activations are multiplied by the length of the decoder rows."""
    centres_input: bool = False
    """Whether it was trained on a model with centred weights, whose residual stream has mean 0 over d_model."""
    prepends_bos: bool = True
    neuronpedia: str | None = None
    """The SAE's id there, `model/source`."""


def read_config(path: Path) -> SaeConfig:
    """The configuration in a `cfg.json`. Raises SubjectError for what is missing, unknown or not supported."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        flat = {**data, **(data.get("metadata") or {})}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise SubjectError(f"SAE configuration {path} cannot be read as JSON: {error}.") from error
    try:
        return _config(flat)
    except SubjectError as error:
        raise SubjectError(f"SAE configuration {path}: {error}") from None


def _config(flat: Mapping[str, Any]) -> SaeConfig:
    architecture = _architecture(flat)
    if flat.get("hook_head_index", flat.get("hook_point_head_index")) is not None:
        raise SubjectError("SAEs of single attention heads are not supported; take one on the residual stream.")
    if flat.get("reshape_activations") not in (None, "none"):
        raise SubjectError(f"reshape_activations {flat['reshape_activations']!r} is not supported, only none.")
    return SaeConfig(
        architecture=architecture,
        d_model=_size(flat, "d_in"),
        n_features=_size(flat, "d_sae"),
        hook=parse_hook(flat.get("hook_name", flat.get("hook_point"))),
        normalization=_normalization(flat.get("normalize_activations")),
        subtracts_b_dec=flat.get("apply_b_dec_to_input", True),
        k=_k(flat) if architecture == "topk" else None,
        scales_by_decoder_norm=bool(flat.get("rescale_acts_by_decoder_norm", False)),
        centres_input=bool((flat.get("model_from_pretrained_kwargs") or {}).get("center_writing_weights", False)),
        prepends_bos=flat.get("prepend_bos", True),
        neuronpedia=flat.get("neuronpedia_id"),
    )


def parse_hook(name: object) -> Hook:
    """The hook that `blocks.L.hook_resid_post` or `..._pre` names. Raises SubjectError for any other."""
    match = _HOOK.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise SubjectError(
            f"hook {name!r} is not supported, only blocks.L.hook_resid_post and blocks.L.hook_resid_pre."
        )
    return Hook(int(match[1]), "post" if match[2] == "post" else "pre")


def _architecture(flat: Mapping[str, Any]) -> Architecture:
    name = flat.get("architecture") or "standard"
    activation = flat.get("activation_fn_str", flat.get("activation_fn")) or "relu"
    if name == "standard" and activation == "topk":
        return "topk"
    if name not in _ARCHITECTURES or activation not in ("relu", "topk"):
        known = ", ".join(_ARCHITECTURES)
        raise SubjectError(f"architecture {name!r} with activation {activation!r} is not supported; known are {known}.")
    return _ARCHITECTURES[name]


def _normalization(name: object) -> Normalization:
    if name is None or isinstance(name, bool):  # before SAELens 3 it was a switch for expected_average_only_in
        return "none"
    if name not in _NORMALIZATIONS:
        raise SubjectError(f"normalize_activations {name!r} is not supported; known are {', '.join(_NORMALIZATIONS)}.")
    return _NORMALIZATIONS[str(name)]


def _size(flat: Mapping[str, Any], key: str) -> int:
    size = flat.get(key)
    if not isinstance(size, int) or size < 1:
        raise SubjectError(f"{key} is {size!r} instead of a positive whole number.")
    return size


def _k(flat: Mapping[str, Any]) -> int:
    return _size({"k": flat.get("k") or (flat.get("activation_fn_kwargs") or {}).get("k")}, "k")
