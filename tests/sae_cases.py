"""SAEs of every format, written as its description says, each with its formula in plain NumPy, and the comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from probes.columns import Columns
from probes.sae_config import Hook
from probes.sae_formats import read_stored
from tests import pickled_cases, saelens_cases, transcoder_cases
from tests.sae_arrays import (
    BD,
    BE,
    LENS_TENSORS,
    MLP_IN,
    MLP_OUT,
    NORMS,
    POST,
    SKIP,
    TH,
    Array,
    Case,
    D,
    E,
    K,
    N,
    W,
    constant,
    json_and,
    jump,
    plain,
    pre,
    relu,
    top,
)


def npz(*below: str, **changes: Array) -> Callable[[Path], Path]:
    """Gemma Scope."""

    def write(folder: Path) -> Path:
        inside = folder.joinpath(*below)
        inside.mkdir(parents=True)
        np.savez(inside / "params.npz", **{**LENS_TENSORS, "threshold": TH, **changes})
        return inside

    return write


def _gemma_scope() -> list[Case]:
    def case(kind: str, hook: Hook, *below: str, hook_out: Hook | None = None, scale: float = 1.0) -> Case:
        return Case(
            "gemma_scope",
            f"jumprelu, {kind}",
            npz(*below),
            lambda x: jump(scale * x @ E + BE, TH),
            lambda f, x: plain(f, x) / scale,
            hook,
            hook_out,
        )

    rest = ("layer_1", "width_16k", "average_l0_82")
    return [
        case("residual", POST, "gemma-scope-2b-pt-res", *rest),
        case("attention", Hook(1, "z"), "gemma-scope-2b-pt-att", *rest),
        case("MLP", Hook(1, "mlp_out"), "gemma-scope-2b-pt-mlp", *rest),
        case("transcoder", Hook(1, "mlp_norm"), "gemma-scope-2b-pt-transcoders", *rest, hook_out=MLP_OUT),
        case("embedding", Hook(0, "pre"), "gemma-scope-2b-pt-res", "embedding", "width_4k", scale=D**-0.5),
    ]


def _gemma_scope_2() -> list[Case]:
    tensors = {"w_enc": E, "w_dec": W, "b_enc": BE, "b_dec": BD, "threshold": TH}
    layer = "model.layers.1"
    at = {
        "architecture": "jump_relu",
        "model_name": "google/gemma-3-270m",
        "hf_hook_point_in": f"{layer}.pre_feedforward_layernorm.output",
        "hf_hook_point_out": f"{layer}.post_feedforward_layernorm.output",
        "affine_connection": True,
    }

    def bare(folder: Path) -> Path:
        inside = folder / "resid_post" / "layer_1_width_16k_l0_small"
        inside.mkdir(parents=True)
        save_file(tensors, inside / "params.safetensors")
        return inside

    def affine(folder: Path) -> Path:
        return json_and(folder, "config.json", at, "params.safetensors", {**tensors, "affine_skip_connection": SKIP})

    return [
        Case("gemma_scope_2", "jumprelu, no config", bare, lambda x: jump(x @ E + BE, TH), plain, POST),
        Case(
            "gemma_scope_2",
            "jumprelu, affine transcoder",
            affine,
            lambda x: jump(x @ E + BE, TH),
            lambda f, x: plain(f, x) + x @ SKIP,
            MLP_IN,
            MLP_OUT,
        ),
    ]


def _llama_scope() -> list[Case]:
    tensors = {"encoder.weight": E.T, "decoder.weight": W.T, "encoder.bias": BE, "decoder.bias": BD}

    def write(norm_in: float, norm_out: float, **more: Any) -> Callable[[Path], Path]:
        config = {
            "d_model": D,
            "d_sae": N,
            "act_fn": "jumprelu",
            "jump_relu_threshold": 0.7,
            "dataset_average_activation_norm": {"in": norm_in, "out": norm_out},
            "hook_point_in": "blocks.1.hook_resid_post",
            **more,
        }
        return lambda folder: json_and(folder, "hyperparams.json", config, "checkpoints/final.safetensors", tensors)

    def scaled(x: Array, norm: float) -> Array:
        return x * D**0.5 / norm @ E + BE

    sites = {"hook_point_in": "blocks.1.ln2.hook_normalized", "hook_point_out": "blocks.1.hook_mlp_out"}
    return [
        Case(
            "llama_scope",
            "jumprelu",
            write(6.3, 6.3),
            lambda x: jump(scaled(x, 6.3), 0.7),
            lambda f, x: plain(f, x) * 6.3 / D**0.5,
            POST,
        ),
        Case(
            "llama_scope",
            "jumprelu by decoder norm",
            write(6.3, 6.3, sparsity_include_decoder_norm=True),
            lambda x: np.where(scaled(x, 6.3) * NORMS > 0.7, scaled(x, 6.3), 0),
            lambda f, x: plain(f, x) * 6.3 / D**0.5,
            POST,
        ),
        Case(
            "llama_scope",
            "topk",
            write(6.3, 6.3, act_fn="topk", top_k=K),
            lambda x: top(scaled(x, 6.3)),
            lambda f, x: plain(f, x) * 6.3 / D**0.5,
            POST,
        ),
        Case(
            "llama_scope",
            "topk by decoder norm",
            write(6.3, 6.3, act_fn="TopK", top_k=K, sparsity_include_decoder_norm=True),
            lambda x: top(scaled(x, 6.3) * NORMS) / NORMS,
            lambda f, x: plain(f, x) * 6.3 / D**0.5,
            POST,
        ),
        Case(
            "llama_scope",
            "relu by decoder norm, b_dec taken off, norms in the weights",
            write(
                6.3,
                6.3,
                act_fn="relu",
                sparsity_include_decoder_norm=True,
                apply_decoder_bias_to_pre_encoder=True,
                norm_activation="inference",
            ),
            lambda x: relu(pre(x)),
            plain,
            POST,
        ),
        Case(
            "llama_scope",
            "topk by decoder norm, token-wise, no decoder bias",
            write(
                6.3,
                6.3,
                act_fn="topk",
                top_k=K,
                sparsity_include_decoder_norm=True,
                apply_decoder_bias_to_pre_encoder=True,
                use_decoder_bias=False,
                norm_activation="token-wise",
            ),
            lambda x: top((constant(x) @ E + BE) * NORMS) / NORMS,
            lambda f, x: f @ W * np.linalg.norm(x, axis=1, keepdims=True) / D**0.5,
            POST,
        ),
        Case(
            "llama_scope",
            "jumprelu by decoder norm at threshold 0",
            write(6.3, 6.3, jump_relu_threshold=0.0, sparsity_include_decoder_norm=True),
            lambda x: relu(scaled(x, 6.3)),
            lambda f, x: plain(f, x) * 6.3 / D**0.5,
            POST,
        ),
        Case(
            "llama_scope",
            "jumprelu, transcoder",
            write(3.5, 0.9, **sites),
            lambda x: jump(scaled(x, 3.5), 0.7),
            lambda f, x: plain(f, x) * 0.9 / D**0.5,
            Hook(1, "mlp_norm"),
            MLP_OUT,
        ),
    ]


def _sparsify() -> list[Case]:
    tensors = {"encoder.weight": E.T, "encoder.bias": BE, "W_dec": W, "b_dec": BD}

    def write(name: str, tensors: Mapping[str, Array], **more: Any) -> Callable[[Path], Path]:
        config = {"d_in": D, "num_latents": N, "k": K, "activation": "topk", "transcode": False, **more}
        return lambda folder: json_and(folder / name, "cfg.json", config, "sae.safetensors", tensors)

    return [
        Case("sparsify", "topk", write("layers.1", tensors), lambda x: top(pre(x)), plain, POST),
        Case(
            "sparsify",
            "topk, of an MLP",
            write("layers.1.mlp", tensors),
            lambda x: top(pre(x)),
            plain,
            Hook(1, "mlp_module"),
        ),
        Case(
            "sparsify",
            "topk, skip transcoder",
            write("layers.1.mlp", {**tensors, "W_skip": SKIP}, transcode=True, skip_connection=True),
            lambda x: top(x @ E + BE),
            lambda f, x: plain(f, x) + x @ SKIP.T,
            MLP_IN,
            Hook(1, "mlp_module"),
        ),
    ]


CASES = [
    *saelens_cases.CASES,
    *_gemma_scope(),
    *_gemma_scope_2(),
    *_llama_scope(),
    *_sparsify(),
    *pickled_cases.CASES,
    *transcoder_cases.CASES,
]


BY_NAME = {f"{case.format}: {case.kind}": case for case in CASES}
ONE_OF_EACH = {case.format: case for case in reversed(CASES)}


@dataclass(frozen=True)
class Read:
    """What reading a case gave against its formula."""

    activates: float
    """Share of activations that are not 0, by the formula."""
    features: float
    """Largest difference of an activation."""
    chosen: float
    """The same for some features read alone, from their own columns."""
    reconstruction: float


def read_back(case: Case, folder: Path) -> Read:
    """Writes the case, reads it, and compares."""
    stored = read_stored(case.write(folder))
    assert stored.format == case.format
    assert (stored.sae.config.hook, stored.sae.config.hook_out) == (case.hook, case.hook_out)
    x = 2 * np.random.default_rng(5).normal(size=(40, D)).astype(np.float32)
    features, ours = case.encode(x), torch.from_numpy(x)
    chosen = [7, 0, 29]
    return Read(
        float((features > 0).mean()),
        _apart(stored.sae.encode(ours), features),
        _apart(Columns(stored.sae, chosen).encode(ours), features[:, chosen]),
        _apart(stored.sae.reconstruct(ours), case.decode(features, x)),
    )


def _apart(found: torch.Tensor, expected: Array) -> float:
    return float(np.abs(found.numpy() - expected).max())
