"""Gemma Scope 2's cross-layer transcoders: `params_layer_3.safetensors` for each layer, as in clt/width_262k_l0_medium.

Names are lower-case; w_dec is [n, layers, d], a decoder for every layer, of which those before its own say nothing.
JumpReLU; b_dec is not taken off the input; an affine skip connection is x @ W. Crosscoders lie the same way in folders
named so, read several layers at once, and are refused.
"""

import re

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig
from probes.sae_formats.base import SaeFiles, SaePlace, named
from probes.sae_formats.weights import open_weights

FILES: tuple[str, ...] = ()

_LAYER = re.compile(r"params_layer_(\d+)\.safetensors")


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`. Raises SubjectError where a folder holds several layers and none is named."""
    if place.file is not None:
        return SaeFiles(place.folder, place.file) if _LAYER.fullmatch(place.file) else None
    matches = (_LAYER.fullmatch(path.name) for path in place.folder.iterdir())
    found = sorted(filter(None, matches), key=lambda match: int(match[1]))
    if len(found) > 1:
        raise SubjectError(
            f"SAE folder {place.folder} holds a cross-layer transcoder of {len(found)} layers, {found[0][1]} to "
            f"{found[-1][1]}; name a layer as {place.folder}:{found[0][0]}."
        )
    return SaeFiles(place.folder, found[0][0]) if found else None


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    if named(files, r"(?:\w*_)?crosscoder(?:_\w+)?"):
        raise SubjectError(
            f"SAE weights {files.folder / files.weights} are a crosscoder's, which reads several layers at once; that "
            "is not supported, take an SAE or a transcoder of one layer."
        )
    match = _LAYER.fullmatch(files.weights)
    assert match is not None
    layer = int(match[1])
    weights = open_weights(files.folder / files.weights)
    b_enc, b_dec = weights.vector("b_enc"), weights.vector("b_dec")
    n, d = len(b_enc), len(b_dec)
    decoders = weights.stack("w_dec", n, d)
    if decoders.shape[1] <= layer:
        raise SubjectError(
            f"SAE weights {files.folder / files.weights}: w_dec has decoders for {decoders.shape[1]} layers, none for "
            f"layer {layer} itself."
        )
    skips = weights.has("affine_skip_connection")
    reads, writes, last = Hook(layer, "mlp_in"), Hook(layer, "mlp_out"), decoders.shape[1] - 1
    return SAE(
        config=SaeConfig("jumprelu", d, n, reads, writes, subtracts_b_dec=False, last_target=last),
        W_enc=weights.matrix("w_enc", d, n),
        W_dec=decoders[:, layer:],
        b_dec=b_dec,
        b_enc=b_enc,
        threshold=weights.flat("threshold", n),
        W_skip=weights.small("affine_skip_connection", d, d) if skips else None,
    )
