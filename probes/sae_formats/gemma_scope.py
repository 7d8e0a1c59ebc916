"""Gemma Scope (Gemma 2): `params.npz` and nothing else. What it reads stands in the names of its folders.

As in google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82. JumpReLU; b_dec is not taken off the input;
trained behind a BOS.
Lieberum et al., "Gemma Scope" (2024).
"""

from dataclasses import dataclass

from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig
from probes.sae_formats.base import SaeFiles, SaePlace, named, named_hook, unnamed
from probes.sae_formats.weights import open_weights

WEIGHTS = "params.npz"
FILES: tuple[str, ...] = (WEIGHTS,)


@dataclass(frozen=True)
class _Role:
    reads: Hook
    writes: Hook | None = None
    scaled: bool = False
    """Embedding SAEs were trained on rows as stored, which the model multiplies by sqrt(d_model) on their way in."""


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    return SaeFiles(place.folder, WEIGHTS) if place.asks_for(WEIGHTS) and place.has(WEIGHTS) else None


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    role = _role(files)
    weights = open_weights(files.folder / WEIGHTS)
    b_enc, b_dec = weights.vector("b_enc"), weights.vector("b_dec")
    n, d = len(b_enc), len(b_dec)
    config = SaeConfig("jumprelu", d, n, role.reads, role.writes, subtracts_b_dec=False, prepends_bos=True)
    return SAE(
        config=config,
        W_enc=weights.matrix("W_enc", d, n),
        W_dec=weights.matrix("W_dec", n, d),
        b_dec=b_dec,
        b_enc=b_enc,
        threshold=weights.vector("threshold", n),
        input_scale=d**-0.5 if role.scaled else 1.0,
    )


def _role(files: SaeFiles) -> _Role:
    if hook := named_hook(files):
        return _Role(hook)
    if named(files, "embedding"):
        return _Role(Hook(0, "pre"), scaled=True)
    layer, kind = named(files, r"layer_(\d+)"), named(files, "res|mlp|att|transcoders?")
    if not layer or not kind:
        raise unnamed(files, "where they read", "gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82")
    number = int(layer[1])
    match kind[0]:
        case "res":
            return _Role(Hook(number, "post"))
        case "mlp":
            return _Role(Hook(number, "mlp_out"))
        case "att":
            return _Role(Hook(number, "z"))
        case _:
            return _Role(Hook(number, "mlp_norm"), Hook(number, "mlp_out"))
