"""Flags of formats: what they name is read, and what would change numbers and is not understood is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from probes.errors import SubjectError
from probes.sae_config import parse_hook
from probes.sae_formats import read_sae
from probes.sae_formats.dictionary_site import dictionary_site
from tests.sae_arrays import BD, BE, LENS_TENSORS, TH, D, E, K, N, W, json_and, pickled
from tests.saelens_cases import lens

pytestmark = pytest.mark.usefixtures("sae_cache")


@pytest.mark.parametrize(
    ("name", "io", "place"),
    [
        (None, None, "hook_resid_post"),
        ("resid_post_layer_3", "out", "hook_resid_post"),
        ("resid_post_layer_3", None, "hook_resid_post"),
        ("resid_post_layer_3", "in", "hook_resid_pre"),
        ("resid_out_layer3", "out", "hook_resid_post"),
        ("model.layers.3", "in", "hook_resid_pre"),
        ("resid_pre_layer_3", "out", "hook_resid_pre"),
        ("Residual-Mid", "out", "hook_resid_mid"),
        ("mlp_layer_3", "in", "mlp.hook_in"),
        ("model.layers.3.mlp", "out", "mlp.output"),
        ("mlp_out_layer_3", "out", "mlp.output"),
        ("mlp_in", "in", "mlp.hook_in"),
        ("mlp.down_proj", "in", "mlp.hook_post"),
        ("mlp_post_layer_3", "out", "mlp.hook_post"),
        ("self_attn.o_proj", "in", "attn.hook_z"),
        ("attn_z_layer_3", "out", "attn.hook_z"),
        ("attention_out_layer_3", "out", "attn.output"),
        ("blocks.3.ln2.hook_normalized", "out", "ln2.hook_normalized"),
    ],
)
def test_a_dictionarys_submodule_is_the_place_it_names(name: str | None, io: str | None, place: str) -> None:
    assert dictionary_site(3, name, io) == parse_hook(f"blocks.3.{place}")


@pytest.mark.parametrize(
    ("name", "io"),
    [
        ("resid_post_layer_2", "out"),  # another layer's
        ("blocks.2.hook_resid_post", "out"),
        ("residue", "out"),  # each begins as a known one does
        ("resid_post_ln", "out"),
        ("mlp_gate_proj", "out"),
        ("attn_scores", "out"),
        ("attn", "in"),  # which no place is named by
        ("mlp_post_act", "in"),  # before the activation function, or at its module
        ("resid_post", "in_and_out"),
        ("resid_post", 1),
        (["resid_post"], "out"),
    ],
)
def test_a_submodule_that_names_no_place_is_refused(name: Any, io: Any) -> None:
    with pytest.raises(SubjectError, match=r"submodule_name|io "):
        dictionary_site(3, name, io)


def llama(**changes: Any) -> Any:
    config = {
        "d_model": D,
        "d_sae": N,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.7,
        "dataset_average_activation_norm": {"in": 2.0, "out": 2.0},
        "hook_point_in": "blocks.1.hook_resid_post",
        **changes,
    }
    tensors = {"encoder.weight": E.T, "decoder.weight": W.T, "encoder.bias": BE, "decoder.bias": BD}
    return lambda folder: json_and(folder, "hyperparams.json", config, "checkpoints/final.safetensors", tensors)


def dictionary(**trainer: Any) -> Any:
    known = {"dict_class": "AutoEncoderTopK", "activation_dim": D, "dict_size": N, "layer": 1}
    tensors = {"encoder.weight": E.T, "decoder.weight": W.T, "encoder.bias": BE, "b_dec": BD, "k": torch.tensor(K)}
    return pickled("ae.pt", tensors, {"trainer": known | trainer})


def sparsify(**changes: Any) -> Any:
    config = {"d_in": D, "num_latents": N, "k": K, **changes}
    tensors = {"encoder.weight": E.T, "encoder.bias": BE, "W_dec": W, "b_dec": BD}
    return lambda folder: json_and(folder / "layers.1", "cfg.json", config, "sae.safetensors", tensors)


ELSEWHERE = {"hook_point_out": "blocks.1.hook_mlp_out"}
TUNED = {**LENS_TENSORS, "scaling_factor": TH}


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (llama(act_fn="batchtopk", top_k=3), "what batch-top-k keeps depends on the rest of a batch"),
        (llama(norm_activation="batch-wise"), "norm_activation 'batch-wise' is not supported"),
        (llama(norm_activation="token-wise", **ELSEWHERE), "with hook_point_out elsewhere is not supported"),
        (
            llama(dataset_average_activation_norm={"in": 2.0}, **ELSEWHERE),
            "activation_norm.out is None",
        ),
        (llama(jump_relu_threshold=-0.1), "jump_relu_threshold is -0.1 instead of a number from 0 on"),
        (llama(sparsity_include_decoder_norm="false"), "sparsity_include_decoder_norm is 'false' instead of true or"),
        (llama(use_decoder_bias=0), "use_decoder_bias is 0 instead of true or false"),
        (llama(sae_type="crosscoder"), "sae_type 'crosscoder' is not supported"),
        (llama(use_glu_encoder=True), "use_glu_encoder True is not supported"),
        (dictionary(k=K + 1), f"k is {K}, but config.json has {K + 1}"),
        (sparsify(transcode="no"), "transcode is 'no' instead of true or false"),
        (sparsify(activation="groupmax"), "activation 'groupmax' is not supported"),
        (lens("standard", LENS_TENSORS, apply_b_dec_to_input="yes"), "apply_b_dec_to_input is 'yes' instead of true"),
        (
            lens("standard", LENS_TENSORS, metadata={"prepend_bos": "no"}),
            "prepend_bos is 'no' instead of true",
        ),
        (lens("standard", TUNED, finetuning_scaling_factor=False), "finetuning_scaling_factor false; one of"),
        (lens("jumprelu", {**LENS_TENSORS, "threshold": TH}, activation_fn="topk"), "with activation 'topk' is not"),
        (lens("topk", LENS_TENSORS, k=K, activation_fn_kwargs={"signed": True}), "signed True is not supported"),
        (lens("standard", LENS_TENSORS, normalize_activations="covariance_whitening"), "'covariance_whitening' is not"),
    ],
)
def test_a_flag_that_would_change_numbers_is_refused_in_one_sentence(tmp_path: Path, write: Any, why: str) -> None:
    with pytest.raises(SubjectError) as refused:
        read_sae(write(tmp_path / "sae"))
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lens("standard", LENS_TENSORS), True),
        (lens("standard", LENS_TENSORS, metadata={"prepend_bos": False}), False),
        (lens("standard", LENS_TENSORS, metadata={"prepend_bos": None}), None),
        (llama(), None),
        (dictionary(), None),
        (sparsify(), None),
    ],
)
def test_whether_texts_began_with_a_bos_is_what_the_files_say(tmp_path: Path, write: Any, says: bool | None) -> None:
    assert read_sae(write(tmp_path / "sae")).config.prepends_bos is says
