"""SAEs as SAELens stores them: read into one convention, and encoding as each architecture's formula says."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from probes.errors import SubjectError
from probes.hooks.activations import residual
from probes.model.structure import layers_of
from probes.sae import SAE
from probes.sae_config import Hook
from probes.sae_formats import read_sae
from probes.subject import Subject
from tests.subjects import D_MODEL, LAYERS, N_FEATURES, sae_config, sae_tensors, write_sae

T = sae_tensors()
X = torch.randn(5, D_MODEL, generator=torch.Generator().manual_seed(7))
THRESHOLD = torch.linspace(0, 8, N_FEATURES)
GATED = {name: torch.linspace(-2, 2, N_FEATURES) for name in ("b_gate", "b_mag", "r_mag")}


def read(folder: Path, config: dict[str, Any] | None = None, **tensors: Tensor) -> SAE:
    return read_sae(write_sae(folder, config, **tensors))


def pre(x: Tensor) -> Tensor:
    return (x - T["b_dec"]) @ T["W_enc"] + T["b_enc"]


def test_standard(tmp_path: Path) -> None:
    torch.testing.assert_close(read(tmp_path).encode(X), pre(X).clamp(min=0))


def test_the_decoder_s_bias_stays_where_the_configuration_leaves_it(tmp_path: Path) -> None:
    sae = read(tmp_path, sae_config(apply_b_dec_to_input=False))
    torch.testing.assert_close(sae.encode(X), (X @ T["W_enc"] + T["b_enc"]).clamp(min=0))


def test_topk(tmp_path: Path) -> None:
    features = read(tmp_path, sae_config(architecture="topk", k=4)).encode(X)
    for row, full in zip(features, pre(X), strict=True):
        top = full.argsort(descending=True)[:4]
        torch.testing.assert_close(row[top], full[top].clamp(min=0))
        assert row.count_nonzero() <= 4


def test_topk_by_decoder_norm(tmp_path: Path) -> None:
    sae = read(tmp_path, sae_config(architecture="topk", k=3, rescale_acts_by_decoder_norm=True))
    norms = T["W_dec"].norm(dim=1)
    features, full = sae.encode(X), pre(X) * norms
    torch.testing.assert_close(features.topk(3).values, full.topk(3).values)
    assert features.count_nonzero() == 3 * len(X)
    unscaled = features / norms.clamp(min=1e-12)
    torch.testing.assert_close(sae.reconstruct(X), unscaled @ T["W_dec"] + T["b_dec"])


def test_jumprelu(tmp_path: Path) -> None:
    features = read(tmp_path, sae_config(architecture="jumprelu"), threshold=THRESHOLD).encode(X)
    torch.testing.assert_close(features, torch.where(pre(X) > THRESHOLD, pre(X), 0.0))
    assert 0 < (features > 0).sum() < (pre(X) > 0).sum()


def test_gated(tmp_path: Path) -> None:
    features = read(tmp_path, sae_config(architecture="gated"), **GATED).encode(X)
    projected = (X - T["b_dec"]) @ T["W_enc"]
    magnitude = (projected * GATED["r_mag"].exp() + GATED["b_mag"]).clamp(min=0)
    torch.testing.assert_close(features, torch.where(projected + GATED["b_gate"] > 0, magnitude, 0.0))


def test_constant_norm_rescale(tmp_path: Path) -> None:
    sae = read(tmp_path, sae_config(normalize_activations="constant_norm_rescale"))
    factor = D_MODEL**0.5 / X.norm(dim=1, keepdim=True)
    torch.testing.assert_close(sae.encode(X), pre(X * factor).clamp(min=0))
    torch.testing.assert_close(sae.reconstruct(X), (sae.encode(X) @ T["W_dec"] + T["b_dec"]) / factor)


def test_layer_norm(tmp_path: Path) -> None:
    sae = read(tmp_path, sae_config(normalize_activations="layer_norm"))
    mean, std = X.mean(dim=1, keepdim=True), X.std(dim=1, keepdim=True)
    torch.testing.assert_close(sae.encode(X), pre((X - mean) / (std + 1e-5)).clamp(min=0))
    torch.testing.assert_close(sae.reconstruct(X), (sae.encode(X) @ T["W_dec"] + T["b_dec"]) * std + mean)


def test_input_scale_is_the_same_as_folding_it_into_the_weights(tmp_path: Path) -> None:
    sae = read_sae(write_sae(tmp_path)).scaled(0.2138)
    folded = ((X - T["b_dec"] / 0.2138) @ (T["W_enc"] * 0.2138) + T["b_enc"]).clamp(min=0)
    torch.testing.assert_close(sae.encode(X), folded)
    reconstructed = folded @ (T["W_dec"] / 0.2138) + T["b_dec"] / 0.2138
    torch.testing.assert_close(sae.reconstruct(X), reconstructed, rtol=1e-4, atol=1e-4)


def test_an_sae_of_a_centred_model_reads_centred_activations(tmp_path: Path) -> None:
    config = sae_config()
    config["metadata"]["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    centred = X - X.mean(dim=1, keepdim=True)
    torch.testing.assert_close(read(tmp_path, config).encode(X), pre(centred).clamp(min=0))


def test_a_scaling_factor_lengthens_decoder_rows(tmp_path: Path) -> None:
    factor = torch.linspace(0.5, 2, N_FEATURES)
    torch.testing.assert_close(read(tmp_path, scaling_factor=factor).W_dec, T["W_dec"] * factor[:, None])


OLD = {
    "hook_point": "blocks.0.hook_resid_pre",
    "hook_point_head_index": None,
    "d_in": D_MODEL,
    "d_sae": N_FEATURES,
    "dtype": "torch.float32",
    "normalize_activations": False,
    "model_name": "gemma-2b",
    "l1_coefficient": 2,
}


def test_the_old_flat_configuration(tmp_path: Path) -> None:
    sae = read(tmp_path, OLD)
    assert sae.config.hook == Hook(0, "pre")
    assert sae.config.subtracts_b_dec
    assert sae.config.prepends_bos
    torch.testing.assert_close(sae.encode(X), pre(X).clamp(min=0))


def test_the_old_name_of_topk(tmp_path: Path) -> None:
    config = OLD | {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}}
    assert (read(tmp_path, config).encode(X) > 0).sum(dim=1).max() == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "transcoder"}, "architecture 'transcoder' lacks hook_name_out"),
        ({"architecture": "temporal"}, "Temporal SAEs are not supported"),
        ({"architecture": "standard", "activation_fn": "tanh-relu"}, "activation 'tanh-relu'"),
        ({"normalize_activations": "covariance_whitening"}, "fold it into the weights with SAELens"),
        ({"reshape_activations": "hook_z"}, "hook_z"),
        ({"metadata": {"hook_name": "blocks.1.attn.hook_q"}}, "blocks.1.attn.hook_q"),
        ({"metadata": {"hook_name": "blocks.1.hook_resid_post", "hook_head_index": 3}}, "attention heads"),
        ({"metadata": {}}, "hook None"),
        ({"d_in": "32"}, "d_in is '32'"),
        ({"architecture": "topk"}, "k is None"),
        ({"architecture": "jumprelu"}, "no tensor threshold"),
        ({"d_sae": N_FEATURES + 1}, r"W_dec has shape \[24, 32\].* \[25, 32\]"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(SubjectError, match=says) as caught:
        read(tmp_path, sae_config(**changes))
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match="b_enc holds numbers that are not finite"):
        read(tmp_path, b_enc=torch.full((N_FEATURES,), torch.nan))


@pytest.mark.parametrize("file", ["cfg.json", "sae_weights.safetensors"])
def test_a_missing_or_broken_file_is_said(tmp_path: Path, file: str) -> None:
    (write_sae(tmp_path) / file).write_text("not it")
    with pytest.raises(SubjectError, match="cannot be read"):
        read_sae(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(SubjectError, match=rf"has .*no {file}"):
        read_sae(tmp_path)


def test_a_folder_of_several_saes_names_them(tmp_path: Path) -> None:
    for name in ("layer_0", "layer_1"):
        write_sae(tmp_path / name)
    with pytest.raises(SubjectError, match=r"layer_0, layer_1.*:layer_0"):
        read_sae(tmp_path)


def test_half_precision_weights_are_used_as_float32(tmp_path: Path) -> None:
    (tmp_path / "cfg.json").write_text(json.dumps(sae_config()))
    save_file({name: tensor.half() for name, tensor in T.items()}, tmp_path / "sae_weights.safetensors")
    sae = read_sae(tmp_path)
    assert sae.encode(X.half()).dtype == sae.encoder_rows([3]).dtype == sae.decoder_rows([3]).dtype == torch.float32
    assert torch.equal(sae.encoder_rows([3, 1]), T["W_enc"].half().float().T[[3, 1]])
    assert torch.equal(sae.decoder_rows([3, 1]), T["W_dec"].half().float()[[3, 1]])


def test_the_residual_stream_is_read_at_the_block(any_subject: Subject) -> None:
    ids = torch.tensor([[1, 40, 290, 7], [1, 5, 6, 7]])
    with torch.no_grad():
        hidden = any_subject.model(ids, output_hidden_states=True).hidden_states
    assert len(layers_of(any_subject.model)) == LAYERS
    for layer in range(LAYERS):
        torch.testing.assert_close(residual(any_subject.model, ids, Hook(layer, "pre")), hidden[layer])
    for layer in range(LAYERS - 1):
        torch.testing.assert_close(residual(any_subject.model, ids, Hook(layer, "post")), hidden[layer + 1])
    last = residual(any_subject.model, ids, Hook(LAYERS - 1, "post"))
    assert not torch.allclose(last, hidden[-1])  # that one is normed already
