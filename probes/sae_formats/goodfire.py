"""Goodfire's SAEs: one pickle of two linear layers, its layer in its name, as in Llama-3.1-8B-Instruct-SAE-l19.pth.

ReLU on the stream after the block; the decoder's bias is not taken off the input.
"""

from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig
from probes.sae_formats.base import SaeFiles, SaePlace, named, named_hook, unnamed
from probes.sae_formats.weights import open_weights

FILES: tuple[str, ...] = ()


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    weights = place.pickle
    if weights is None or not weights.has("encoder_linear.weight", "decoder_linear.weight"):
        return None
    return SaeFiles(place.folder, weights.path.name)


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    weights = open_weights(files.folder / files.weights)
    b_enc, b_dec = weights.vector("encoder_linear.bias"), weights.vector("decoder_linear.bias")
    n, d = len(b_enc), len(b_dec)
    return SAE(
        config=SaeConfig("standard", d, n, _hook(files), subtracts_b_dec=False),
        W_enc=weights.matrix("encoder_linear.weight", d, n, turned=True),
        W_dec=weights.matrix("decoder_linear.weight", n, d, turned=True),
        b_dec=b_dec,
        b_enc=b_enc,
    )


def _hook(files: SaeFiles) -> Hook:
    if hook := named_hook(files):
        return hook
    layer = named(files, r"l(?:ayer_?)?(\d+)")
    if not layer:
        raise unnamed(files, "which layer they read", "Llama-3.1-8B-Instruct-SAE-l19.pth")
    return Hook(int(layer[1]), "post")
