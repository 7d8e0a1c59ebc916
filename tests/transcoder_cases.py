"""Transcoders as circuit-tracer and Gemma Scope 2 publish them, written by hand, each with its formula in NumPy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from probes.sae_config import Hook
from tests.sae_arrays import (
    BD,
    BE,
    MLP_IN,
    MLP_OUT,
    SKIP,
    TH,
    Array,
    Case,
    D,
    E,
    K,
    N,
    W,
    jump,
    plain,
    relu,
    safetensors,
    top,
)

SPREAD: Array = np.random.default_rng(17).normal(size=(N, 3, D)).astype(np.float32)
"""A cross-layer transcoder's decoders for layers 1 to 3."""
MID = Hook(1, "mid")


def yaml(folder: Path, **settings: Any) -> None:
    """A `config.yaml`; JSON is YAML, but these are written as the published ones are."""
    lines = [f"{name}: {value!r}" for name, value in settings.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("# Transcoders\n" + "\n".join(lines) + "\n")


def per_layer(*, turned: bool = False, **more: Any) -> Callable[[Path], Path]:
    """`layer_1.safetensors`, W_enc [n, d], beside the configuration of a set."""

    def write(folder: Path) -> Path:
        tensors = {"W_enc": E.T, "W_dec": W.T if turned else W, "b_enc": BE, "b_dec": BD}
        settings = {"feature_input_hook": "hook_resid_mid", "feature_output_hook": "mlp.hook_out"}
        arrays = {name: value for name, value in more.items() if isinstance(value, np.ndarray)}
        rest = {name: value for name, value in more.items() if name not in arrays}
        if "threshold" in arrays:
            arrays["activation_function.threshold"] = arrays.pop("threshold")
        yaml(folder, model_name="meta-llama/Llama-3.2-1B", model_kind="transcoder_set", **settings | rest)
        safetensors(folder / "layer_1.safetensors", tensors | arrays)
        return folder / "layer_1.safetensors"

    return write


def cross_layer(**more: Array) -> Callable[[Path], Path]:
    """`W_enc_1.safetensors` with `W_dec_1.safetensors`."""

    def write(folder: Path) -> Path:
        yaml(
            folder,
            model_name="google/gemma-2-2b",
            model_kind="cross_layer_transcoder",
            feature_input_hook="hook_resid_mid",
            feature_output_hook="hook_mlp_out",
        )
        safetensors(folder / "W_enc_1.safetensors", {"W_enc_1": E.T, "b_enc_1": BE, "b_dec_1": BD, **more})
        safetensors(folder / "W_dec_1.safetensors", {"W_dec_1": SPREAD})
        return folder / "W_enc_1.safetensors"

    return write


def gemma_scope_2(folder: Path) -> Path:
    """A layer of `clt/width_262k_l0_medium_affine`: decoders of all four layers, nothing in the one before its own."""
    inside = folder / "clt" / "width_262k_l0_medium_affine"
    decoders = np.concatenate([np.zeros((N, 1, D), np.float32), SPREAD], axis=1)
    tensors = {"w_enc": E, "w_dec": decoders, "b_enc": BE, "b_dec": BD, "threshold": TH}
    safetensors(inside / "params_layer_1.safetensors", tensors | {"affine_skip_connection": SKIP})
    return inside / "params_layer_1.safetensors"


def _summed(features: Array, _x: Array) -> Array:
    return features @ SPREAD.sum(1) + BD


_MODULE = Hook(1, "mlp_module")


def _set(kind: str, write: Callable[[Path], Path], encode: Callable[[Array], Array]) -> Case:
    return Case("circuit_tracer", kind, write, encode, plain, MID, _MODULE)


CASES = [
    _set("relu transcoder", per_layer(), lambda x: relu(x @ E + BE)),
    _set("relu transcoder, W_dec [d, n]", per_layer(turned=True), lambda x: relu(x @ E + BE)),
    _set("jumprelu transcoder", per_layer(threshold=TH), lambda x: jump(x @ E + BE, TH)),
    _set("topk transcoder", per_layer(activation="topk", k=K), lambda x: top(x @ E + BE)),
    Case(
        "circuit_tracer",
        "skip transcoder",
        per_layer(W_skip=SKIP),
        lambda x: relu(x @ E + BE),
        lambda f, x: plain(f, x) + x @ SKIP.T,
        MID,
        _MODULE,
    ),
    Case("circuit_tracer", "relu, cross-layer", cross_layer(), lambda x: relu(x @ E + BE), _summed, MID, MLP_OUT),
    Case(
        "circuit_tracer",
        "jumprelu, cross-layer",
        cross_layer(threshold_1=TH[None]),
        lambda x: jump(x @ E + BE, TH),
        _summed,
        MID,
        MLP_OUT,
    ),
    Case(
        "gemma_scope_2_clt",
        "jumprelu, affine cross-layer",
        gemma_scope_2,
        lambda x: jump(x @ E + BE, TH),
        lambda f, x: _summed(f, x) + x @ SKIP,
        MLP_IN,
        MLP_OUT,
    ),
]
