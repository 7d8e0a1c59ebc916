"""Qwen Scope: one pickle a layer, `layer12.sae.pt`, with W_enc [n, d] and W_dec [d, n].

How many features are kept stands in its repository's name alone, as in Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_50. b_dec is
not taken off the input.
"""

import re

from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig
from probes.sae_formats.base import SaeFiles, SaePlace, named, unnamed
from probes.sae_formats.weights import open_weights

FILES: tuple[str, ...] = ()

_NAME = re.compile(r"layer(\d+)\.sae\.pt")


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    weights = place.pickle
    if weights is None or not _NAME.fullmatch(weights.path.name):
        return None
    return SaeFiles(place.folder, weights.path.name)


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    layer, k = _NAME.fullmatch(files.weights), named(files, r"L0_(\d+)")
    if not layer or not k or not int(k[1]):
        raise unnamed(files, "how many features they keep", "SAE-Res-Qwen3-8B-Base-W64K-L0_50/layer12.sae.pt")
    weights = open_weights(files.folder / files.weights)
    b_enc, b_dec = weights.vector("b_enc"), weights.vector("b_dec")
    n, d = len(b_enc), len(b_dec)
    return SAE(
        config=SaeConfig("topk", d, n, Hook(int(layer[1]), "post"), subtracts_b_dec=False, k=int(k[1])),
        W_enc=weights.matrix("W_enc", d, n, turned=True),
        W_dec=weights.matrix("W_dec", n, d, turned=True),
        b_dec=b_dec,
        b_enc=b_enc,
    )
