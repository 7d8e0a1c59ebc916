"""Gemma Scope 2 (Gemma 3): `params.safetensors` with lower-case names, beside it mostly a `config.json`.

As in google/gemma-scope-2-1b-pt, resid_post/layer_12_width_16k_l0_medium. JumpReLU; b_dec is not taken off the input; a
transcoder's affine skip connection is x @ W, [d_in, d_out].
"""

import re
from collections.abc import Mapping
from typing import Any

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig, Site
from probes.sae_formats.base import SaeFiles, SaePlace, explained, named, named_hook, read_json, unnamed
from probes.sae_formats.weights import open_weights

CONFIG, WEIGHTS = "config.json", "params.safetensors"
FILES: tuple[str, ...] = (CONFIG, WEIGHTS)

_HOOK = re.compile(r"(?:.*\.)?layers\.(\d+)\.(.+)")
_SITES: dict[str, Site] = {
    "output": "post",
    "input": "pre",
    "self_attn.o_proj.input": "z",
    "self_attn.output": "attn_module",
    "post_attention_layernorm.output": "attn_out",
    "pre_feedforward_layernorm.output": "mlp_in",
    "mlp.input": "mlp_in",
    "mlp.output": "mlp_module",
    "post_feedforward_layernorm.output": "mlp_out",
}
_KINDS: dict[str, tuple[Site, Site | None]] = {
    "resid_post": ("post", None),
    "attn_out": ("attn_out", None),
    "mlp_out": ("mlp_out", None),
    "transcoder": ("mlp_in", "mlp_out"),
}


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    if not (place.asks_for(WEIGHTS) and place.has(WEIGHTS)):
        return None
    return SaeFiles(place.folder, WEIGHTS, CONFIG if (place.folder / CONFIG).is_file() else None)


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    reads, writes = _from_config(files, CONFIG) if files.config else _from_names(files)
    weights = open_weights(files.folder / WEIGHTS)
    b_enc, b_dec = weights.vector("b_enc"), weights.vector("b_dec")
    n, d = len(b_enc), len(b_dec)
    skips = weights.has("affine_skip_connection")
    return SAE(
        config=SaeConfig("jumprelu", d, n, reads, writes, subtracts_b_dec=False),
        W_enc=weights.matrix("w_enc", d, n),
        W_dec=weights.matrix("w_dec", n, d),
        b_dec=b_dec,
        b_enc=b_enc,
        threshold=weights.vector("threshold", n),
        W_skip=weights.small("affine_skip_connection", d, d) if skips else None,
    )


def _from_config(files: SaeFiles, name: str) -> tuple[Hook, Hook | None]:
    path = files.folder / name
    data = read_json(path)
    with explained(path):
        if data.get("architecture", "jump_relu") != "jump_relu":
            raise SubjectError(f"architecture {data['architecture']!r} is not supported, only jump_relu.")
        reads = _parsed(data, "hf_hook_point_in")
        writes = _parsed(data, "hf_hook_point_out") if data.get("hf_hook_point_out") else reads
    return reads, None if writes == reads else writes


def _parsed(data: Mapping[str, Any], key: str) -> Hook:
    match = _HOOK.fullmatch(str(data.get(key)))
    if match is None or match[2] not in _SITES:
        known = ", ".join(f"model.layers.L.{name}" for name in _SITES)
        raise SubjectError(f"{key} {data.get(key)!r} is not supported; known are {known}.")
    return Hook(int(match[1]), _SITES[match[2]])


def _from_names(files: SaeFiles) -> tuple[Hook, Hook | None]:
    if hook := named_hook(files):
        return hook, None
    layer = named(files, r"layer_(\d+)(?:_\w+)?")
    kind = named(files, rf"({'|'.join(_KINDS)})(?:_all)?")
    if not layer or not kind:
        raise unnamed(files, "where they read", "resid_post/layer_12_width_16k_l0_medium")
    number, (reads, writes) = int(layer[1]), _KINDS[kind[1]]
    return Hook(number, reads), Hook(number, writes) if writes else None
