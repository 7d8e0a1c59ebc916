"""dictionary_learning: `ae.pt` with the `config.json` of its trainer, one class of dictionary each with its own names.

Activations are those of each class's own `encode`. `AutoEncoder` alone is given decoder rows of length 1 as it is
loaded, which multiplies its activations by their length. Batch-top-k and Matryoshka ones carry the threshold at which
they are used. Marks, Karvonen and Mueller, dictionary_learning (2024).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import SaeConfig
from probes.sae_formats.base import SaeFiles, SaePlace, explained, part, read_json, size
from probes.sae_formats.dictionary_site import dictionary_site
from probes.sae_formats.weights import Weights, open_weights

CONFIG, WEIGHTS = "config.json", "ae.pt"
FILES: tuple[str, ...] = (CONFIG, WEIGHTS)


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`."""
    return SaeFiles(place.folder, WEIGHTS, CONFIG) if place.asks_for(WEIGHTS) and place.has(WEIGHTS) else None


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    path = files.folder / CONFIG
    with explained(path):
        data = read_json(path)
        trainer = part(data, "trainer")
        name = trainer.get("dict_class")
        if not isinstance(name, str) or name not in _CLASSES:
            raise SubjectError(f"dict_class {name!r} is not supported; known are {', '.join(_CLASSES)}.")
        hook = dictionary_site(_layer(trainer), trainer.get("submodule_name"), part(data, "buffer").get("io"))
        k = None if trainer.get("k") is None else size(trainer, "k")
        shape = SaeConfig("standard", size(trainer, "activation_dim"), size(trainer, "dict_size"), hook, k=k)
    return _CLASSES[name](shape, open_weights(files.folder / WEIGHTS, CONFIG))


def _layer(trainer: Mapping[str, Any]) -> int:
    layer = trainer.get("layer")
    if isinstance(layer, bool) or not isinstance(layer, int) or layer < 0:
        raise SubjectError(f"layer is {layer!r} instead of a layer's number.")
    return layer


def _linear(shape: SaeConfig, weights: Weights, b_dec: str) -> SAE:
    """Reads an SAE stored as two linear layers; its biases are the caller's."""
    n, d = shape.n_features, shape.d_model
    return SAE(
        config=shape,
        W_enc=weights.matrix("encoder.weight", d, n, turned=True),
        W_dec=weights.matrix("decoder.weight", n, d, turned=True),
        b_dec=weights.vector(b_dec, d),
        b_enc=weights.vector("encoder.bias", n) if weights.has("encoder.bias") else None,
    )


def _direct(shape: SaeConfig, weights: Weights) -> SAE:
    """Reads an SAE stored as W_enc and W_dec; its threshold is the caller's."""
    n, d = shape.n_features, shape.d_model
    return SAE(
        config=shape,
        W_enc=weights.matrix("W_enc", d, n),
        W_dec=weights.matrix("W_dec", n, d),
        b_dec=weights.vector("b_dec", d),
        b_enc=weights.vector("b_enc", n),
    )


def _auto_encoder(shape: SaeConfig, weights: Weights) -> SAE:
    return _linear(replace(shape, scales_by_decoder_norm=True), weights, "bias")


def _auto_encoder_new(shape: SaeConfig, weights: Weights) -> SAE:
    return _linear(replace(shape, subtracts_b_dec=False), weights, "decoder.bias")


def _gated(shape: SaeConfig, weights: Weights) -> SAE:
    n = shape.n_features
    return replace(
        _linear(replace(shape, architecture="gated"), weights, "decoder_bias"),
        b_gate=weights.vector("gate_bias", n),
        b_mag=weights.vector("mag_bias", n),
        r_mag=weights.vector("r_mag", n),
    )


def _jumprelu(shape: SaeConfig, weights: Weights) -> SAE:
    config = replace(shape, architecture="jumprelu", subtracts_b_dec=False)
    return replace(_direct(config, weights), threshold=weights.vector("threshold", shape.n_features))


def _top_k(shape: SaeConfig, weights: Weights) -> SAE:
    return _linear(replace(shape, architecture="topk", k=_k(shape, weights)), weights, "b_dec")


def _k(shape: SaeConfig, weights: Weights) -> int:
    k = size({"k": round(weights.scalar("k"))}, "k")
    if shape.k not in (None, k):
        raise SubjectError(f"SAE weights {weights.path}: k is {k}, but {CONFIG} has {shape.k}; take them from one run.")
    return k


def _batch_top_k(shape: SaeConfig, weights: Weights) -> SAE:
    return _thresholded(_linear(shape, weights, "b_dec"), weights)


def _matryoshka(shape: SaeConfig, weights: Weights) -> SAE:
    return _thresholded(_direct(shape, weights), weights)


def _thresholded(sae: SAE, weights: Weights) -> SAE:
    if weights.has("k"):
        _k(sae.config, weights)
    threshold = weights.scalar("threshold")
    if threshold < 0:
        raise SubjectError(
            f"SAE weights {weights.path}: threshold is {threshold}, so training ended before there was one; without "
            "it a batch-top-k SAE depends on what else is in the batch."
        )
    config = replace(sae.config, architecture="jumprelu", k=None)
    return replace(sae, config=config, threshold=torch.full((sae.config.n_features,), threshold))


_CLASSES: dict[str, Callable[[SaeConfig, Weights], SAE]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "GatedAutoEncoder": _gated,
    "JumpReluAutoEncoder": _jumprelu,
    "AutoEncoderTopK": _top_k,
    "BatchTopKSAE": _batch_top_k,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}
