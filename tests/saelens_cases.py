"""SAEs as SAELens writes them or wrote them, each with its formula."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from probes.sae_config import Hook
from tests.sae_arrays import (
    BD,
    BE,
    GATE,
    LENS_TENSORS,
    MAG,
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
    R,
    by_norm,
    constant,
    json_and,
    jump,
    made,
    normed,
    plain,
    pre,
    relu,
    top,
)


def lens(name: str, tensors: Mapping[str, Array], scaler: float | None = None, **config: Any) -> Callable[[Path], Path]:
    """SAELens 6."""
    metadata = {"hook_name": "blocks.1.hook_resid_post", "prepend_bos": True, **config.pop("metadata", {})}
    cfg = {"architecture": name, "d_in": D, "d_sae": N, "apply_b_dec_to_input": True, "metadata": metadata} | config

    def write(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if scaler is not None:
            (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scaler}))
        return json_and(folder, "cfg.json", cfg, "sae_weights.safetensors", tensors)

    return write


def old(**config: Any) -> Callable[[Path], Path]:
    """SAELens before 6: flat."""
    flat = {"hook_point": "blocks.1.hook_resid_post", "d_in": D, "d_sae": N, "dtype": "torch.float32", **config}
    return lambda folder: json_and(folder, "cfg.json", flat, "sae_weights.safetensors", LENS_TENSORS)


def old_scaled(folder: Path) -> Path:
    """With a scale on activations that was tuned afterwards."""
    old()(folder)
    save_file({**LENS_TENSORS, "scaling_factor": TH}, folder / "sae_weights.safetensors")
    return folder


WRITES = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
WITHOUT = {key: tensor for key, tensor in LENS_TENSORS.items() if key != "b_enc"}
WIDE, WIDE_BIAS = made(N, D + 5), made(D + 5)


GATED = {**WITHOUT, "b_gate": GATE, "b_mag": MAG, "r_mag": R}
OVER: dict[str, Any] = {"d_out": D + 5, "apply_b_dec_to_input": False, "metadata": WRITES}
SKIPS: dict[str, Any] = {"d_out": D, "apply_b_dec_to_input": False, "metadata": WRITES}
CENTRED = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
Z = {"hook_name": "blocks.1.attn.hook_z"}
SCALE = 0.3


def case(kind: str, write: Callable[[Path], Path], encode: Callable[[Array], Array], **more: Any) -> Case:
    """At the residual stream, decoded plainly, unless told."""
    return Case("saelens", kind, write, encode, **{"decode": plain, "hook": POST, **more})


CASES = [
    case("standard", lens("standard", LENS_TENSORS), lambda x: relu(pre(x))),
    case("b_dec kept", lens("standard", LENS_TENSORS, apply_b_dec_to_input=False), lambda x: relu(x @ E + BE)),
    case("topk", lens("topk", LENS_TENSORS, k=K), lambda x: top(pre(x))),
    case(
        "topk by decoder norm",
        lens("topk", LENS_TENSORS, k=K, rescale_acts_by_decoder_norm=True),
        lambda x: top(pre(x) * NORMS),
        decode=by_norm,
    ),
    case(
        "standard, which knows no rescaling",
        lens("standard", LENS_TENSORS, rescale_acts_by_decoder_norm=True),
        lambda x: relu(pre(x)),
    ),
    case(
        "topk by decoder norm of constant norm, b_dec kept",
        lens(
            "topk",
            LENS_TENSORS,
            k=K,
            rescale_acts_by_decoder_norm=True,
            apply_b_dec_to_input=False,
            normalize_activations="constant_norm_rescale",
        ),
        lambda x: top((constant(x) @ E + BE) * NORMS),
        decode=lambda f, x: by_norm(f, x) * np.linalg.norm(x, axis=1, keepdims=True) / D**0.5,
    ),
    case("jumprelu", lens("jumprelu", {**LENS_TENSORS, "threshold": TH}), lambda x: jump(pre(x), TH)),
    case(
        "jumprelu, of training",
        lens("jumprelu", {**LENS_TENSORS, "log_threshold": np.log(TH)}),
        lambda x: jump(pre(x), TH),
    ),
    case(
        "gated",
        lens("gated", GATED),
        lambda x: np.where((x - BD) @ E + GATE > 0, relu((x - BD) @ E * np.exp(R) + MAG), 0),
    ),
    case(
        "batchtopk, of training",
        lens(
            "batchtopk",
            {**LENS_TENSORS, "topk_threshold": np.array([2.5], np.float32)},
            rescale_acts_by_decoder_norm=True,
        ),
        lambda x: jump(pre(x) * NORMS, 2.5),
        decode=by_norm,
    ),
    case(
        "matryoshka, of training",
        lens("matryoshka_batchtopk", {**LENS_TENSORS, "topk_threshold": np.array([1.5], np.float32)}),
        lambda x: jump(pre(x), 1.5),
    ),
    case(
        "transcoder",
        lens("transcoder", {**LENS_TENSORS, "W_dec": WIDE, "b_dec": WIDE_BIAS}, **OVER),
        lambda x: relu(x @ E + BE),
        decode=lambda f, _: f @ WIDE + WIDE_BIAS,
        hook=MLP_IN,
        hook_out=MLP_OUT,
    ),
    case(
        "jumprelu skip transcoder",
        lens("jumprelu_skip_transcoder", {**LENS_TENSORS, "threshold": TH, "W_skip": SKIP}, **SKIPS),
        lambda x: jump(x @ E + BE, TH),
        decode=lambda f, x: plain(f, x) + x @ SKIP.T,
        hook=MLP_IN,
        hook_out=MLP_OUT,
    ),
    case(
        "constant_norm_rescale",
        lens("standard", LENS_TENSORS, normalize_activations="constant_norm_rescale"),
        lambda x: relu(pre(constant(x))),
        decode=lambda f, x: plain(f, x) * np.linalg.norm(x, axis=1, keepdims=True) / D**0.5,
    ),
    case(
        "layer_norm",
        lens("standard", LENS_TENSORS, normalize_activations="layer_norm"),
        lambda x: relu(pre(normed(x)[0])),
        decode=lambda f, x: plain(f, x) * normed(x)[2] + normed(x)[1],
    ),
    case(
        "expected_average_only_in, folded",
        lens("standard", LENS_TENSORS, normalize_activations="expected_average_only_in"),
        lambda x: relu(pre(x)),
    ),
    case(
        "expected_average_only_in, stored",
        lens("standard", LENS_TENSORS, scaler=SCALE, normalize_activations="expected_average_only_in"),
        lambda x: relu(pre(SCALE * x)),
        decode=lambda f, x: plain(f, x) / SCALE,
    ),
    case(
        "of a centred model",
        lens("standard", LENS_TENSORS, metadata=CENTRED),
        lambda x: relu(pre(x - x.mean(1, keepdims=True))),
    ),
    case(
        "hook_z",
        lens("standard", LENS_TENSORS, reshape_activations="hook_z", metadata=Z),
        lambda x: relu(pre(x)),
        hook=Hook(1, "z"),
    ),
    case("old, standard", old(), lambda x: relu(pre(x))),
    case(
        "old, topk",
        old(activation_fn_str="topk", activation_fn_kwargs={"k": K}, normalize_activations=False),
        lambda x: top(pre(x)),
    ),
    case("old, scaling_factor", old_scaled, lambda x: relu(pre(x)), decode=lambda f, x: plain(f * TH, x)),
]
