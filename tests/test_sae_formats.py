"""Every published format reads into the same value, does what its formula says, and fails in one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from probes.sae_formats import FORMATS, read_sae, read_stored
from tests.sae_arrays import BD, BE, LENS_TENSORS, D, E, W, pickled, safetensors
from tests.sae_cases import BY_NAME, ONE_OF_EACH, read_back
from tests.saelens_cases import lens

pytestmark = pytest.mark.usefixtures("sae_cache")


@pytest.mark.parametrize("name", BY_NAME)
def test_it_does_what_its_formula_says(tmp_path: Path, name: str) -> None:
    found = read_back(BY_NAME[name], tmp_path / "sae")
    assert 0.01 < found.activates < 0.99
    assert max(found.features, found.chosen, found.reconstruction) < 1e-4


def test_every_format_has_a_case() -> None:
    assert ONE_OF_EACH.keys() == FORMATS.keys()


SQUARE = np.random.default_rng(3).normal(size=(2, D, D)).astype(np.float32)


@pytest.mark.parametrize(
    ("write", "encoder_turned", "decoder_turned"),
    [
        ("saelens", False, False),
        ("gemma_scope", False, False),
        ("gemma_scope_2", False, False),
        ("llama_scope", True, True),
        ("qwen_scope", True, True),
        ("sparsify", True, False),
        ("dictionary_learning", True, True),
        ("openai", True, True),
        ("goodfire", True, True),
    ],
)
def test_with_as_many_features_as_dimensions_the_format_decides(
    tmp_path: Path, write: str, encoder_turned: bool, decoder_turned: bool
) -> None:
    sae = read_sae(squares(tmp_path, write))
    encoder, decoder = (torch.from_numpy(matrix) for matrix in SQUARE)
    assert torch.equal(sae.W_enc, encoder.T if encoder_turned else encoder)
    assert torch.equal(sae.W_dec, decoder.T if decoder_turned else decoder)


def squares(folder: Path, name: str) -> Path:
    """An SAE of that format whose stored matrices are both square."""
    encoder, decoder = SQUARE
    few = {"b_enc": BE[:D], "b_dec": BD, "threshold": np.abs(BE[:D])}
    linear = {"encoder.weight": encoder, "decoder.weight": decoder, "encoder.bias": BE[:D]}
    match name:
        case "saelens":
            return lens("standard", {"W_enc": encoder, "W_dec": decoder, **few}, d_sae=D)(folder)
        case "gemma_scope":
            inside = folder / "gemma-scope-2b-pt-res" / "layer_1"
            inside.mkdir(parents=True)
            np.savez(inside / "params.npz", W_enc=encoder, W_dec=decoder, **few)
            return inside
        case "gemma_scope_2":
            inside = folder / "resid_post" / "layer_1_width_16k_l0_small"
            return safetensors(inside / "params.safetensors", {"w_enc": encoder, "w_dec": decoder, **few})
        case "llama_scope":
            norm = {"in": 1.0, "out": 1.0}
            config = {"d_model": D, "d_sae": D, "jump_relu_threshold": 0.5, "dataset_average_activation_norm": norm}
            (folder / "hyperparams.json").write_text(json.dumps(config | {"hook_point_in": "blocks.1.hook_resid_post"}))
            safetensors(folder / "checkpoints" / "final.safetensors", linear | {"decoder.bias": BD})
            return folder
        case "qwen_scope":
            return pickled("x-L0_2/layer1.sae.pt", {"W_enc": encoder, "W_dec": decoder, **few})(folder)
        case "sparsify":
            inside = folder / "layers.1"
            tensors = {"encoder.weight": encoder, "encoder.bias": BE[:D], "W_dec": decoder, "b_dec": BD}
            safetensors(inside / "sae.safetensors", tensors)
            (inside / "cfg.json").write_text(json.dumps({"d_in": D, "num_latents": D, "k": 2}))
            return inside
        case "dictionary_learning":
            trainer = {"dict_class": "AutoEncoder", "activation_dim": D, "dict_size": D, "layer": 1}
            return pickled("ae.pt", linear | {"bias": BD}, {"trainer": trainer})(folder)
        case "openai":
            biases = {"pre_bias": BD, "latent_bias": BE[:D]}
            return pickled("resid_post_mlp/1.pt", {"encoder.weight": encoder, "decoder.weight": decoder, **biases})(
                folder
            )
        case _:
            biases = {"encoder_linear.bias": BE[:D], "decoder_linear.bias": BD}
            matrices = {"encoder_linear.weight": encoder, "decoder_linear.weight": decoder}
            return pickled("x-SAE-l1.pth", matrices | biases)(folder)


def test_a_transposed_matrix_is_known_by_its_shape(tmp_path: Path) -> None:
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(0))
    right = read_sae(lens("standard", LENS_TENSORS)(tmp_path / "right"))
    turned = read_sae(lens("standard", {**LENS_TENSORS, "W_enc": E.T, "W_dec": W.T})(tmp_path / "turned"))
    torch.testing.assert_close(right.encode(x), turned.encode(x))  # another layout, another order of sums
    torch.testing.assert_close(right.reconstruct(x), turned.reconstruct(x))


def test_files_that_decide_are_all_of_them_and_no_other(tmp_path: Path) -> None:
    files = {case.format: read_stored(case.write(tmp_path / case.format)).files for case in ONE_OF_EACH.values()}
    assert {name: sorted(found) for name, found in files.items()} == {
        "saelens": ["cfg.json", "sae_weights.safetensors"],
        "gemma_scope": ["params.npz"],
        "gemma_scope_2": ["params.safetensors"],
        "gemma_scope_2_clt": ["params_layer_1.safetensors"],
        "circuit_tracer": ["config.yaml", "layer_1.safetensors"],
        "llama_scope": ["checkpoints/final.safetensors", "hyperparams.json"],
        "qwen_scope": ["layer1.sae.pt"],
        "sparsify": ["cfg.json", "sae.safetensors"],
        "dictionary_learning": ["ae.pt", "config.json"],
        "openai": ["1.pt"],
        "goodfire": ["Llama-3.1-8B-Instruct-SAE-l1.pth"],
    }
    assert all(path.is_file() for found in files.values() for path in found.values())
