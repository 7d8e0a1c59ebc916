"""EleutherAI's sparsify: `cfg.json` with `sae.safetensors`, in a folder named by its module, as `layers.5.mlp`.

A coder of a module reads and writes that module's output; a transcoder reads its input. b_dec is taken off the input
of the former only. W_dec lies as [n, d], whatever other readers make of it.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig
from probes.sae_formats.base import (
    SaeFiles,
    SaePlace,
    explained,
    names_of,
    read_json,
    refuse_if_set,
    size,
    switch,
    unnamed,
)
from probes.sae_formats.weights import open_weights

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
FILES: tuple[str, ...] = (CONFIG, WEIGHTS)

_MODULE = re.compile(r"(?:.*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(mlp|feed_forward|self_attn|attention|attn))?")
_MLPS = ("mlp", "feed_forward")


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    return SaeFiles(place.folder, WEIGHTS, CONFIG) if place.asks_for(WEIGHTS) and place.has(CONFIG, WEIGHTS) else None


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    path = files.folder / CONFIG
    data = read_json(path)
    with explained(path):
        config = _config(data, *_hooks(files, switch(data, "transcode", False)))
        skips = switch(data, "skip_connection", False)
    weights = open_weights(files.folder / WEIGHTS, CONFIG)
    n, d = config.n_features, config.d_model
    return SAE(
        config=config,
        W_enc=weights.matrix("encoder.weight", d, n, turned=True),
        W_dec=weights.matrix("W_dec", n, d),
        b_dec=weights.vector("b_dec", d),
        b_enc=weights.vector("encoder.bias", n) if weights.has("encoder.bias") else torch.zeros(n),
        W_skip=weights.small("W_skip", d, d, turned=True) if skips else None,
    )


def _config(data: Mapping[str, Any], reads: Hook, writes: Hook | None) -> SaeConfig:
    refuse_if_set(data, "signed", "embed_skip", "gram_lookup")
    if data.get("activation", "topk") != "topk":
        raise SubjectError(f"activation {data['activation']!r} is not supported, only topk.")
    d = size(data, "d_in")
    n = size(data, "num_latents") if data.get("num_latents") else d * size(data, "expansion_factor")
    return SaeConfig("topk", d, n, reads, writes, subtracts_b_dec=writes is None, k=size(data, "k"))


def _hooks(files: SaeFiles, transcodes: bool) -> tuple[Hook, Hook | None]:
    """Returns the hook that it reads, and the hook that it writes if that is another."""
    match = next((match for name in names_of(files)[1:] if (match := _MODULE.fullmatch(name))), None)
    if match is None:
        raise unnamed(files, "which module they are of", "layers.5 or layers.5.mlp")
    layer, module = int(match[1]), match[2]
    if module in _MLPS:
        out = Hook(layer, "mlp_module")
        return (Hook(layer, "mlp_in"), out) if transcodes else (out, None)
    if not transcodes:
        return Hook(layer, "attn_module" if module else "post"), None
    if module:
        raise SubjectError("transcoders of attention are not supported, only those of an MLP or a whole block.")
    return Hook(layer, "pre"), Hook(layer, "post")
