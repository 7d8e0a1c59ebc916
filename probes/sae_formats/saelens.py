"""SAELens: `cfg.json` with `sae_weights.safetensors`, as version 6 writes them or as older ones did, flat.

A checkpoint of a training has log_threshold for threshold, topk_threshold for a batch-top-k's or Matryoshka SAE's, and
the scale of its inputs in a file of its own.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Architecture, Hook, Normalization, Pursuit, SaeConfig, parse_hook
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

CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
FILES: tuple[str, ...] = (CONFIG, WEIGHTS, SCALER)

_ARCHITECTURES: dict[str, Architecture] = {
    "standard": "standard",
    "relu": "standard",
    "topk": "topk",
    "abstopk": "abs_topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
    "matching_pursuit": "matching_pursuit",
    "transcoder": "standard",
    "skip_transcoder": "standard",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
_RESIDUAL, _RESIDUAL_THRESHOLD = "residual_threshold", 1e-2
"""SAELens' threshold of matching pursuit where the file has none."""
_FINETUNED = "finetuning_scaling_factor"
_BY_CONSTANT, _CONSTANT = "constant_scalar_rescale", "activation_normalization_factor"
_NORMALIZATIONS: dict[str, Normalization] = {
    "none": "none",
    "expected_average_only_in": "none",  # a factor that is folded into the weights, or stored: see _input_scale
    _BY_CONSTANT: "none",  # another name of a factor, which is stored
    "constant_norm_rescale": "constant_norm_rescale",
    "layer_norm": "layer_norm",
}
_OF_TOP_K = ("topk", "abstopk", "batchtopk", "matryoshka_batchtopk")
"""The architectures that know rescale_acts_by_decoder_norm; SAELens passes over it with any other."""
_OWN: dict[Architecture, tuple[str, ...]] = {
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "abs_topk": ("b_enc",),
    "jumprelu": ("b_enc",),
    "gated": ("b_gate", "b_mag", "r_mag"),
    "matching_pursuit": (),
}
"""The tensors, one number per feature, that an architecture has besides its threshold."""


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    if not (place.asks_for(WEIGHTS) and place.has(CONFIG)):
        return None
    return SaeFiles(place.folder, WEIGHTS, CONFIG, (SCALER,) if (place.folder / SCALER).is_file() else ())


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    path = files.folder / CONFIG
    data = read_json(path)
    scaler = read_json(files.folder / SCALER) if SCALER in files.more else {}
    with explained(path):
        flat = {**data, **part(data, "metadata")}
        config = _config(flat)
        d_out = size(flat, "d_out") if flat.get("d_out") is not None and config.hook_out else config.d_model
        input_scale, is_finetuned = _input_scale(flat, scaler), switch(flat, _FINETUNED, True)
    return _assembled(config, d_out, open_weights(files.folder / WEIGHTS, CONFIG), input_scale, is_finetuned)


def _assembled(config: SaeConfig, d_out: int, weights: Weights, input_scale: float, is_finetuned: bool) -> SAE:
    n, d = config.n_features, config.d_model
    decoder = weights.matrix("W_dec", n, d_out)
    is_tied = config.architecture == "matching_pursuit"
    encoder = decoder.T if is_tied else weights.matrix("W_enc", d, n)
    if weights.has("scaling_factor"):  # multiplies activations before the decoder, which is the same as longer rows
        factor = weights.vector("scaling_factor", n)
        changes = not torch.allclose(factor, torch.ones(n))
        if changes and not is_finetuned:
            raise SubjectError(
                f"SAE weights {weights.path} have a scaling_factor, but {CONFIG} says {_FINETUNED} false; one of them "
                "is of another SAE."
            )
        decoder = decoder.float() * factor[:, None] if changes else decoder
    own: dict[str, Any] = {name: weights.vector(name, n) for name in _OWN[config.architecture]}
    return SAE(
        config=config,
        W_enc=encoder,
        W_dec=decoder,
        b_dec=weights.vector("b_dec", d_out) if config.subtracts_b_dec or not is_tied else torch.zeros(d_out),
        b_enc=torch.zeros(n) if is_tied else own.pop("b_enc", None),
        threshold=_threshold(config, weights, decoder) if config.architecture == "jumprelu" else None,
        W_skip=weights.small("W_skip", d, d_out, turned=True) if weights.has("W_skip") else None,
        input_scale=input_scale,
        **own,
    )


def _threshold(config: SaeConfig, weights: Weights, decoder: Tensor) -> Tensor:
    n = config.n_features
    if weights.has("log_threshold"):
        return weights.vector("log_threshold", n).exp()
    if weights.has("topk_threshold"):
        threshold = torch.full((n,), weights.scalar("topk_threshold"))
        if config.scales_by_decoder_norm:  # it is compared with pre-activations times the length of the row
            threshold = threshold / decoder.float().norm(dim=-1).clamp(min=1e-12)
        return threshold
    return weights.vector("threshold", n)


def _config(flat: Mapping[str, Any]) -> SaeConfig:
    architecture, hook = _architecture(flat), _hook(flat)
    writes = _written(flat)
    centred = part(flat, "model_from_pretrained_kwargs").get("center_writing_weights", False)
    return SaeConfig(
        architecture=architecture,
        d_model=size(flat, "d_in"),
        n_features=size(flat, "d_sae"),
        hook=hook,
        hook_out=writes,
        normalization=_normalization(flat.get("normalize_activations")),
        subtracts_b_dec=switch(flat, "apply_b_dec_to_input", True) and writes is None,
        k=_k(flat) if architecture in ("topk", "abs_topk") else None,
        pursuit=_pursuit(flat) if architecture == "matching_pursuit" else None,
        scales_by_decoder_norm=_is_of_top_k(flat) and switch(flat, "rescale_acts_by_decoder_norm", False),
        centres_input=bool(centred) and hook.is_residual,
        lacks_input_scale=flat.get("normalize_activations") == "constant_scalar_rescale"
        and flat.get(_CONSTANT) is None,
        prepends_bos=_prepends_bos(flat),
        neuronpedia=flat.get("neuronpedia_id"),
    )


def _prepends_bos(flat: Mapping[str, Any]) -> bool | None:
    """As the file says; the flat files of older versions mean that it does where they do not say."""
    return switch(flat, "prepend_bos", True) if "metadata" not in flat or flat.get("prepend_bos") is not None else None


def _is_of_top_k(flat: Mapping[str, Any]) -> bool:
    return flat.get("architecture") in _OF_TOP_K or _architecture(flat) == "topk"


def _hook(flat: Mapping[str, Any]) -> Hook:
    hook = parse_hook(flat.get("hook_name", flat.get("hook_point")))
    if any(flat.get(key) is not None for key in ("hook_head_index", "hook_point_head_index", "hook_head_index_out")):
        raise SubjectError("SAEs of single attention heads are not supported; take one of all heads or of the stream.")
    if flat.get("reshape_activations") not in (None, "none", "hook_z" if hook.side == "z" else "none"):
        raise SubjectError(f"reshape_activations {flat['reshape_activations']!r} is not supported at {hook}.")
    return hook


def _written(flat: Mapping[str, Any]) -> Hook | None:
    """Returns the hook that a transcoder writes."""
    if not str(flat.get("architecture")).endswith("transcoder"):
        return None
    if flat.get("hook_name_out") is None:
        raise SubjectError(f"architecture {flat['architecture']!r} lacks hook_name_out, the place where it writes.")
    return parse_hook(flat["hook_name_out"])


def _architecture(flat: Mapping[str, Any]) -> Architecture:
    name = flat.get("architecture") or "standard"
    activation = flat.get("activation_fn_str", flat.get("activation_fn")) or "relu"
    if name in ("standard", "topk") and activation == "topk":
        return "topk"
    if name == "temporal":
        raise SubjectError(
            "Temporal SAEs are not supported: what a feature does at a token hangs on the tokens before it, so it has "
            "no direction of its own that could be read."
        )
    if not isinstance(name, str) or name not in _ARCHITECTURES or activation != "relu":
        known = ", ".join(_ARCHITECTURES)
        raise SubjectError(f"architecture {name!r} with activation {activation!r} is not supported; known are {known}.")
    return _ARCHITECTURES[name]


def _normalization(name: object) -> Normalization:
    if name is None or isinstance(name, bool):  # before SAELens 3 it was a switch for expected_average_only_in
        return "none"
    if not isinstance(name, str) or name not in _NORMALIZATIONS:
        known = ", ".join(_NORMALIZATIONS)
        raise SubjectError(
            f"normalize_activations {name!r} is not supported, only {known}; fold it into the weights with SAELens, or "
            "take another SAE."
        )
    return _NORMALIZATIONS[name]


def _input_scale(flat: Mapping[str, Any], scaler: Mapping[str, Any]) -> float:
    """The factor of the input where one is stored; that of expected_average_only_in is else in the weights already."""
    by = flat.get("normalize_activations")
    if by == _BY_CONSTANT:
        key, factor = _CONSTANT, flat.get(_CONSTANT)
    elif by in ("expected_average_only_in", True):
        key, factor = "norm_scaling_factor", flat.get("norm_scaling_factor", scaler.get("scaling_factor"))
    else:
        return 1.0
    return 1.0 if factor is None else positive({key: factor}, key)


def _pursuit(flat: Mapping[str, Any]) -> Pursuit:
    most = "max_iterations"
    return Pursuit(
        residual_threshold=not_negative({_RESIDUAL: flat.get(_RESIDUAL, _RESIDUAL_THRESHOLD)}, _RESIDUAL),
        max_iterations=size(flat, most if flat.get(most) is not None else "d_in"),
        stops_at_repeats=switch(flat, "stop_on_duplicate_support", True),
    )


def _k(flat: Mapping[str, Any]) -> int:
    how = part(flat, "activation_fn_kwargs")
    refuse_if_set(how, *(key for key in how if key != "k"))
    return size({"k": flat.get("k") or how.get("k")}, "k")
