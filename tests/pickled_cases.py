"""SAEs in formats that are pickles, each with its formula."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from tests.sae_arrays import (
    BD,
    BE,
    GATE,
    LENS_TENSORS,
    MAG,
    MLP_OUT,
    NORMS,
    POST,
    TH,
    Array,
    Case,
    D,
    E,
    K,
    N,
    R,
    W,
    by_norm,
    jump,
    normed,
    pickled,
    plain,
    pre,
    relu,
    top,
)


def _qwen_scope() -> list[Case]:
    tensors = {"W_enc": E.T, "W_dec": W.T, "b_enc": BE, "b_dec": BD}
    write = pickled(f"SAE-Res-Qwen3-8B-Base-W64K-L0_{K}/layer1.sae.pt", tensors)
    return [Case("qwen_scope", "topk", write, lambda x: top(x @ E + BE), plain, POST)]


def _dictionary_learning() -> list[Case]:
    linear = {"encoder.weight": E.T, "decoder.weight": W.T}
    biased = {**linear, "encoder.bias": BE}

    def case(
        name: str,
        tensors: Mapping[str, Any],
        encode: Callable[[Array], Array],
        decode: Callable[[Array, Array], Array] = plain,
    ) -> Case:
        trainer = {"dict_class": name, "activation_dim": D, "dict_size": N, "layer": 1, "lm_name": "tiny"}
        config = {"trainer": trainer | {"submodule_name": "resid_post_layer_1"}, "buffer": {"ctx_len": 128}}
        return Case("dictionary_learning", name, pickled("ae.pt", tensors, config), encode, decode, POST)

    def gated(x: Array) -> Array:
        projected = (x - BD) @ E
        return np.where(projected + GATE > 0, relu(projected * np.exp(R) + MAG), 0)

    groups = {"group_sizes": torch.tensor([10, N - 10])}
    return [
        case("AutoEncoder", {**biased, "bias": BD}, lambda x: relu(pre(x)) * NORMS, by_norm),
        case("AutoEncoderNew", {**biased, "decoder.bias": BD}, lambda x: relu(x @ E + BE)),
        case(
            "GatedAutoEncoder",
            {**linear, "decoder_bias": BD, "r_mag": R, "gate_bias": GATE, "mag_bias": MAG},
            gated,
        ),
        case("JumpReluAutoEncoder", {**LENS_TENSORS, "threshold": TH}, lambda x: jump(x @ E + BE, TH)),
        case("AutoEncoderTopK", {**biased, "b_dec": BD, "k": torch.tensor(K)}, lambda x: top(pre(x))),
        case(
            "BatchTopKSAE",
            {**biased, "b_dec": BD, "k": torch.tensor(K), "threshold": torch.tensor(1.25)},
            lambda x: jump(pre(x), 1.25),
        ),
        case(
            "MatryoshkaBatchTopKSAE",
            {**LENS_TENSORS, "k": torch.tensor(K), "threshold": torch.tensor(1.25), **groups},
            lambda x: jump(pre(x), 1.25),
        ),
    ]


def _openai() -> list[Case]:
    tensors = {"pre_bias": BD, "latent_bias": BE, "encoder.weight": E.T}
    counts = {"stats_last_nonzero": torch.zeros(N, dtype=torch.long)}
    top_k = {"activation": "TopK", "activation_state_dict": {"k": K, "postact_fn": "ReLU"}}
    return [
        Case(
            "openai",
            "topk, layer-normed",
            pickled("resid_post_mlp_v5_32k/autoencoders/1.pt", {**tensors, "decoder.weight": W.T, **top_k, **counts}),
            lambda x: top((normed(x)[0] - BD) @ E + BE),
            lambda f, x: plain(f, x) * normed(x)[2] + normed(x)[1],
            POST,
        ),
        Case(
            "openai",
            "standard, tied",
            pickled("resid_delta_mlp/autoencoders/1.pt", {**tensors, "activation": "ReLU"}),
            lambda x: relu(pre(x)),
            lambda f, _: f @ E.T + BD,
            MLP_OUT,
        ),
    ]


def _goodfire() -> list[Case]:
    tensors = {
        "encoder_linear.weight": E.T,
        "encoder_linear.bias": BE,
        "decoder_linear.weight": W.T,
        "decoder_linear.bias": BD,
    }
    write = pickled("Llama-3.1-8B-Instruct-SAE-l1.pth", tensors)
    return [Case("goodfire", "standard", write, lambda x: relu(x @ E + BE), plain, POST)]


CASES = [*_qwen_scope(), *_dictionary_learning(), *_openai(), *_goodfire()]
