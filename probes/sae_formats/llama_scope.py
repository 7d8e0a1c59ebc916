"""Llama Scope: `hyperparams.json` with `checkpoints/final.safetensors`.

Activations are scaled so that their average norm is sqrt(d_model), what is written likewise by its own average. One
threshold for all features. He et al., "Llama Scope" (2024).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Architecture, Normalization, SaeConfig, parse_hook
from probes.sae_formats.base import Files, Place, explained, part, positive, read_json, refuse_if_set, size
from probes.sae_formats.weights import Weights, open_weights

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
FILES: tuple[str, ...] = (CONFIG, WEIGHTS)

_RULES: dict[str, Architecture] = {"jumprelu": "jumprelu", "relu": "standard", "topk": "topk"}
_NORMALIZATIONS: dict[str, Normalization] = {
    "dataset-wise": "none",
    "inference": "none",
    "token-wise": "constant_norm_rescale",
}


def find(place: Place) -> Files | None:
    """See `Format`."""
    return Files(place.folder, WEIGHTS, CONFIG) if place.asks_for(WEIGHTS) and place.has(CONFIG) else None


def read(files: Files) -> SAE:
    """See `Format`."""
    path = files.folder / CONFIG
    data = read_json(path)
    with explained(path):
        config = _config(data)
        scale_in, scale_out = _scale(data, config.d_model, "in"), _scale(data, config.d_model, "out")
        threshold = positive(data, "jump_relu_threshold") if config.architecture == "jumprelu" else None
    weights = open_weights(files.folder / WEIGHTS, CONFIG)
    n, d = config.n_features, config.d_model
    decoder = weights.matrix("decoder.weight", n, d, turned=True)
    return SAE(
        config=config,
        W_enc=weights.matrix("encoder.weight", d, n, turned=True),
        W_dec=decoder,
        b_dec=weights.vector("decoder.bias", d) if data.get("use_decoder_bias", True) else torch.zeros(d),
        b_enc=weights.vector("encoder.bias", n),
        threshold=None if threshold is None else _thresholds(data, threshold, decoder, weights),
        input_scale=scale_in,
        output_scale=scale_out,
    )


def _config(data: Mapping[str, Any]) -> SaeConfig:
    refuse_if_set(data, "use_glu_encoder")
    reads = parse_hook(data.get("hook_point_in"))
    writes = parse_hook(data["hook_point_out"]) if data.get("hook_point_out") else reads
    rule, normalization = data.get("act_fn", "jumprelu"), data.get("norm_activation", "dataset-wise")
    if rule not in _RULES or normalization not in _NORMALIZATIONS:
        raise SubjectError(f"act_fn {rule!r} with norm_activation {normalization!r} is not supported.")
    return SaeConfig(
        architecture=_RULES[rule],
        d_model=size(data, "d_model"),
        n_features=size(data, "d_sae"),
        hook=reads,
        hook_out=None if writes == reads else writes,
        normalization=_NORMALIZATIONS[normalization],
        subtracts_b_dec=bool(data.get("apply_decoder_bias_to_pre_encoder", False)),
        k=size(data, "top_k") if rule == "topk" else None,
    )


def _scale(data: Mapping[str, Any], d_model: int, side: str) -> float:
    if data.get("norm_activation", "dataset-wise") != "dataset-wise":
        return 1.0
    key = f"dataset_average_activation_norm.{side}"
    averages = part(data, "dataset_average_activation_norm")
    return float(d_model**0.5) / positive({key: averages.get(side, averages.get("in"))}, key)


def _thresholds(data: Mapping[str, Any], threshold: float, decoder: Tensor, weights: Weights) -> Tensor:
    """The threshold is compared with pre-activations times the length of the decoder's row where the file says so."""
    thresholds = torch.full((len(decoder),), threshold)
    if not data.get("sparsity_include_decoder_norm", False):
        return thresholds
    return thresholds / weights.finite("decoder.weight", decoder.float().norm(dim=-1)).clamp(min=1e-12)
