"""Llama Scope: `hyperparams.json` with `checkpoints/final.safetensors`.

Activations are scaled so that their average norm is sqrt(d_model), what is written likewise by its own average. One
threshold for all features. With `sparsity_include_decoder_norm`, what is active is decided by pre-activations times the
length of decoder rows, whatever the rule, and activations stay without that factor. He et al., "Llama Scope" (2024).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Architecture, Normalization, SaeConfig, parse_hook
from probes.sae_formats.base import (
    SaeFiles,
    SaePlace,
    explained,
    not_negative,
    part,
    positive,
    read_json,
    refuse_if_set,
    size,
    switch,
)
from probes.sae_formats.weights import Weights, open_weights

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
FILES: tuple[str, ...] = (CONFIG, WEIGHTS)

_RULES: dict[str, Architecture] = {"jumprelu": "jumprelu", "relu": "standard", "topk": "topk"}
_BY_DATASET, _BY_TOKEN = "dataset-wise", "token-wise"
_NORMALIZATIONS: dict[str, Normalization] = {
    _BY_DATASET: "none",  # one factor, see _scale
    "inference": "none",  # the same, in the weights already
    "none": "none",
    _BY_TOKEN: "constant_norm_rescale",
}
_BY_NORM = "sparsity_include_decoder_norm"


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    return SaeFiles(place.folder, WEIGHTS, CONFIG) if place.asks_for(WEIGHTS) and place.has(CONFIG) else None


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    path = files.folder / CONFIG
    data = read_json(path)
    with explained(path):
        config = _config(data)
        scale_in = _scale(data, config.d_model, "in")
        scale_out = _scale(data, config.d_model, "out") if config.hook_out else scale_in
        threshold = not_negative(data, "jump_relu_threshold") if config.architecture == "jumprelu" else None
        biased, by_norm = switch(data, "use_decoder_bias", True), switch(data, _BY_NORM, False)
    weights = open_weights(files.folder / WEIGHTS, CONFIG)
    n, d = config.n_features, config.d_model
    decoder = weights.matrix("decoder.weight", n, d, turned=True)
    return SAE(
        config=config,
        W_enc=weights.matrix("encoder.weight", d, n, turned=True),
        W_dec=decoder,
        b_dec=weights.vector("decoder.bias", d) if biased else torch.zeros(d),
        b_enc=weights.vector("encoder.bias", n),
        threshold=None if threshold is None else _thresholds(threshold, by_norm, decoder, weights),
        input_scale=scale_in,
        output_scale=scale_out,
    )


def _config(data: Mapping[str, Any]) -> SaeConfig:
    refuse_if_set(data, "use_glu_encoder")
    if data.get("sae_type") not in (None, "sae"):
        raise SubjectError(f"sae_type {data['sae_type']!r} is not supported, only sae.")
    reads = parse_hook(data.get("hook_point_in"))
    writes = parse_hook(data["hook_point_out"]) if data.get("hook_point_out") else reads
    rule = _rule(data)
    return SaeConfig(
        architecture=rule,
        d_model=size(data, "d_model"),
        n_features=size(data, "d_sae"),
        hook=reads,
        hook_out=None if writes == reads else writes,
        normalization=_normalization(data, is_transcoder=writes != reads),
        subtracts_b_dec=switch(data, "apply_decoder_bias_to_pre_encoder", False),
        k=size(data, "top_k") if rule == "topk" else None,
        ranks_by_decoder_norm=rule == "topk" and switch(data, _BY_NORM, False),
    )


def _rule(data: Mapping[str, Any]) -> Architecture:
    name = data.get("act_fn", "jumprelu")
    rule = _RULES.get(name.lower()) if isinstance(name, str) else None
    if rule is None:
        raise SubjectError(
            f"act_fn {name!r} is not supported; known are {', '.join(_RULES)} (what batch-top-k keeps depends on the "
            "rest of a batch: turn it into jumprelu as its library does)."
        )
    return rule


def _normalization(data: Mapping[str, Any], is_transcoder: bool) -> Normalization:
    name = data.get("norm_activation", _BY_DATASET)
    if not isinstance(name, str) or name not in _NORMALIZATIONS:
        raise SubjectError(f"norm_activation {name!r} is not supported; known are {', '.join(_NORMALIZATIONS)}.")
    if name == _BY_TOKEN and is_transcoder:
        raise SubjectError(
            f"norm_activation {name!r} with hook_point_out elsewhere is not supported: what it writes has no length "
            "of its own."
        )
    return _NORMALIZATIONS[name]


def _scale(data: Mapping[str, Any], d_model: int, side: str) -> float:
    if data.get("norm_activation", _BY_DATASET) != _BY_DATASET:
        return 1.0
    key = f"dataset_average_activation_norm.{side}"
    return float(d_model**0.5) / positive({key: part(data, "dataset_average_activation_norm").get(side)}, key)


def _thresholds(threshold: float, by_norm: bool, decoder: Tensor, weights: Weights) -> Tensor:
    """Returns the thresholds of pre-activations; with `by_norm`, of their product with the length of the decoder's
    row.
    """
    thresholds = torch.full((len(decoder),), threshold)
    if not by_norm:
        return thresholds
    return thresholds / weights.finite("decoder.weight", decoder.float().norm(dim=-1)).clamp(min=1e-12)
