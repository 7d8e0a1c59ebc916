"""OpenAI's SAEs of GPT-2: one pickle a layer, as in resid_post_mlp_v5_32k/autoencoders/8.pt.

The top-k ones read a layer-normed input, the ReLU ones do not. Without decoder weights, they are the encoder's.
Gao et al., "Scaling and evaluating sparse autoencoders" (2024).
"""

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig, Site
from probes.sae_formats.base import SaeFiles, SaePlace, named, named_hook, size, unnamed
from probes.sae_formats.weights import Weights, open_weights

FILES: tuple[str, ...] = ()

_SITES: dict[str, Site] = {
    "resid_post_mlp": "post",
    "resid_post_attn": "mid",
    "resid_delta_mlp": "mlp_out",
    "resid_delta_attn": "attn_out",
    "mlp_post_act": "mlp_act",
}


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    weights = place.pickle
    if weights is None or not weights.has("pre_bias", "latent_bias"):
        return None
    return SaeFiles(place.folder, weights.path.name)


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    weights = open_weights(files.folder / files.weights)
    pre_bias, latent_bias = weights.vector("pre_bias"), weights.vector("latent_bias")
    n, d = len(latent_bias), len(pre_bias)
    encoder = weights.matrix("encoder.weight", d, n, turned=True)
    tied = not weights.has("decoder.weight")
    return SAE(
        config=_config(files, weights, d, n),
        W_enc=encoder,
        W_dec=encoder.T if tied else weights.matrix("decoder.weight", n, d, turned=True),
        b_dec=pre_bias,
        b_enc=latent_bias,
    )


def _config(files: SaeFiles, weights: Weights, d: int, n: int) -> SaeConfig:
    hook = _hook(files)
    match weights.values.get("activation", "ReLU"), weights.values.get("activation_state_dict.postact_fn", "ReLU"):
        case "ReLU", _:
            return SaeConfig("standard", d, n, hook)
        case "TopK", "ReLU":
            k = size({"k": round(weights.scalar("activation_state_dict.k"))}, "k")
            return SaeConfig("topk", d, n, hook, normalization="layer_norm", k=k)
        case activation, after:
            raise SubjectError(f"SAE weights {weights.path}: activation {activation} with {after} is not supported.")


def _hook(files: SaeFiles) -> Hook:
    if hook := named_hook(files):
        return hook
    layer, site = named(files, r"(?:layer_?)?(\d+)(?=\.pt)"), named(files, rf"({'|'.join(_SITES)})(?:_v\d+\w*)?")
    if not layer or not site:
        raise unnamed(files, "where they read", "resid_post_mlp_v5_32k/autoencoders/8.pt")
    return Hook(int(layer[1]), _SITES[site[1]])
