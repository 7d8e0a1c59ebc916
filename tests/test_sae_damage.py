"""What is missing, damaged, dangerous or not supported in a stored SAE is one sentence."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from probes.errors import SubjectError
from probes.sae_config import Hook
from probes.sae_formats import read_sae
from tests.sae_arrays import BD, BE, LENS_TENSORS, D, E, N, W, pickled, safetensors
from tests.sae_cases import BY_NAME, ONE_OF_EACH
from tests.saelens_cases import lens

pytestmark = pytest.mark.usefixtures("sae_cache")


def rewritten(folder: Path, **changes: Any) -> None:
    """The JSON file of a folder, changed."""
    path = next(folder.glob("*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(path: Path) -> str:
    """The one sentence with which reading fails."""
    with pytest.raises(SubjectError) as caught:
        read_sae(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("damage", ["short", "empty", "nonsense"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, name: str, damage: str) -> None:
    read = ONE_OF_EACH[name].write(tmp_path / "sae")
    weights = read if read.is_file() else next(p for p in read.rglob("*") if p.is_file() and p.suffix != ".json")
    content = weights.read_bytes()
    weights.write_bytes({"short": content[: len(content) // 2], "empty": b"", "nonsense": b"no tensors" * 99}[damage])
    assert "cannot be read" in refusal(read) or "so they are not read" in refusal(read)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("saelens", "W_enc"),
        ("gemma_scope", "threshold"),
        ("gemma_scope_2", "w_dec"),
        ("llama_scope", "decoder.weight"),
        ("sparsify", "W_dec"),
    ],
)
@pytest.mark.parametrize("kind", ["missing", "whole numbers", "one row more"])
def test_a_tensor_that_is_missing_or_of_another_kind_is_said(tmp_path: Path, name: str, key: str, kind: str) -> None:
    read = ONE_OF_EACH[name].write(tmp_path / "sae")
    path = next(p for p in read.rglob("*") if p.suffix in (".npz", ".safetensors"))
    tensors = dict(np.load(path)) if path.suffix == ".npz" else {k: v.numpy() for k, v in load_file(path).items()}
    tensor = tensors.pop(key)
    if kind != "missing":
        tensors[key] = tensor.astype(np.int64) if kind == "whole numbers" else np.concatenate([tensor, tensor[:1]])
    if path.suffix == ".npz":
        np.savez(path, **tensors)
    else:
        safetensors(path, tensors)
    says = {
        "missing": f"have no tensor {key}, only",
        "whole numbers": f"{key} is of type int64",
        "one row more": "shape",
    }
    assert says[kind] in refusal(read)


@pytest.mark.parametrize("name", ["saelens", "gemma_scope"])
def test_vectors_are_looked_at_at_once_and_matrices_where_they_are_used(tmp_path: Path, name: str) -> None:
    sae = read_sae(with_nan(tmp_path / "matrix", name, "W_enc", (slice(None), 3)))
    assert sae.encoder_rows([0, 2, 4]).isfinite().all()
    for use in (lambda: sae.encoder_rows([2, 3]), lambda: sae.encode(torch.zeros(1, D))):
        with pytest.raises(SubjectError, match="W_enc holds numbers that are not finite"):
            use()
    assert "b_enc holds numbers that are not finite" in refusal(with_nan(tmp_path / "vector", name, "b_enc", 3))


def with_nan(folder: Path, name: str, key: str, where: Any) -> Path:
    """A SAELens or Gemma Scope SAE with a number that is none."""
    tensors = {n: tensor.copy() for n, tensor in LENS_TENSORS.items()} | {"threshold": np.abs(BE)}
    tensors[key][where] = np.nan
    if name == "saelens":
        return lens("jumprelu", tensors)(folder)
    inside = folder / "x-res" / "layer_1"
    inside.mkdir(parents=True)
    np.savez(inside / "params.npz", **tensors)
    return inside


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("saelens", {"architecture": "temporal"}, "Temporal SAEs are not supported"),
        ("gemma_scope_2", {"architecture": "topk"}, "only jump_relu"),
        ("gemma_scope_2", {"hf_hook_point_in": "model.embed"}, "hf_hook_point_in 'model.embed' is not supported"),
        ("llama_scope", {"act_fn": "gelu"}, "act_fn 'gelu'"),
        (
            "llama_scope",
            {"dataset_average_activation_norm": {"in": 0}},
            r"activation_norm.in is 0 instead of a positive",
        ),
        ("llama_scope", {"use_glu_encoder": True}, "use_glu_encoder True is not supported"),
        ("sparsify", {"activation": "groupmax"}, "activation 'groupmax'"),
        ("sparsify", {"k": 0}, "k is 0 instead of a positive whole number"),
        ("sparsify", {"d_in": True}, "d_in is True"),
        ("dictionary_learning", {"trainer": {"dict_class": "CrossCoder"}}, "dict_class 'CrossCoder'"),
        ("dictionary_learning", {"trainer": []}, "dict_class None"),
        ("dictionary_learning", {"trainer": "x"}, "trainer is 'x' instead of an object"),
    ],
)
def test_a_configuration_that_cannot_be_followed_is_said(
    tmp_path: Path, name: str, changes: dict[str, Any], says: str
) -> None:
    case = BY_NAME["gemma_scope_2: jumprelu, affine transcoder"] if name == "gemma_scope_2" else ONE_OF_EACH[name]
    read = case.write(tmp_path / "sae")
    rewritten(read, **changes)
    assert says in refusal(read)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, "\udcff"])
def test_json_that_is_none_is_said(tmp_path: Path, content: str) -> None:
    read = ONE_OF_EACH["saelens"].write(tmp_path / "sae")
    (read / "cfg.json").write_bytes(content.encode(errors="surrogateescape"))
    assert "cannot be read as JSON" in refusal(read)


@pytest.mark.parametrize("name", ["saelens", "dictionary_learning", "sparsify", "llama_scope"])
def test_a_pipe_in_place_of_a_configuration_is_not_waited_for(tmp_path: Path, name: str) -> None:
    read = ONE_OF_EACH[name].write(tmp_path / "sae")
    config = next(read.glob("*.json"))
    config.unlink()
    os.mkfifo(config)
    assert "is no ordinary file" in refusal(read) or f"but no {config.name}" in refusal(read)


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 20, "1_0"])
def test_a_hook_whose_layer_no_model_has_is_said_in_short(tmp_path: Path, number: str) -> None:
    read = ONE_OF_EACH["saelens"].write(tmp_path / "sae")
    rewritten(read, metadata={"hook_name": f"blocks.{number}.hook_resid_post"})
    said = refusal(read)
    assert "is not supported; known are blocks.L.hook_resid_pre" in said
    assert len(said) < 1000


def test_a_batch_top_k_sae_without_a_threshold_is_refused(tmp_path: Path) -> None:
    trainer = {"dict_class": "BatchTopKSAE", "activation_dim": D, "dict_size": N, "layer": 1}
    biases = {"encoder.bias": BE, "b_dec": BD, "threshold": torch.tensor(-1.0)}
    write = pickled("ae.pt", {"encoder.weight": E.T, "decoder.weight": W.T, **biases}, {"trainer": trainer})
    assert "threshold is -1.0, so training ended before" in refusal(write(tmp_path))


class Command:
    """What a pickle of it would run."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("name", ["ae.pt", "1.pt", "x-l1.pth", "layer1.sae.pt"])
def test_a_pickle_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sae").mkdir()
    torch.save({"encoder.weight": torch.zeros(2, 2), "more": Command()}, tmp_path / "sae" / name)
    (tmp_path / "sae" / "config.json").write_text(
        json.dumps({"trainer": {"dict_class": "AutoEncoder", "activation_dim": 2, "dict_size": 2, "layer": 0}})
    )
    assert "could run code when read, so they are not read" in refusal(tmp_path / "sae")
    assert not (tmp_path / "ran").exists()


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "x-res" / "layer_1"
    inside.mkdir(parents=True)
    np.savez(inside / "params.npz", W_enc=np.array([Command()], dtype=object))
    assert "so they are not read" in refusal(inside)
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["1.pt", "x-l1.pth"])
@pytest.mark.parametrize("content", [b"", b"hello world, no tensors", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_pickle_is_said_in_our_own_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    kind = Path(name).suffix
    said = f"cannot be read: this is no {kind} file, whatever its name says; download it again."
    assert refusal(tmp_path / name) == f"SAE weights {tmp_path / name} {said}"


def test_what_torch_says_of_a_pickle_that_it_refuses_is_not_passed_on(tmp_path: Path) -> None:
    torch.save({"more": Unknown()}, tmp_path / "1.pt")
    said = refusal(tmp_path / "1.pt")
    assert said.endswith("take a copy in safetensors, or make one where that does no harm.")
    assert "\x1b" not in said
    assert "weights_only" not in said


class Unknown:
    """Of which torch says how to read it all the same."""


def test_weights_without_their_configuration_are_said_to_be(tmp_path: Path) -> None:
    read = ONE_OF_EACH["saelens"].write(tmp_path / "sae")
    (read / "cfg.json").unlink()
    assert refusal(read).startswith(f"SAE folder {read} has sae_weights.safetensors but no cfg.json, which says how to")


def test_a_configuration_without_its_weights_is_said_to_be(tmp_path: Path) -> None:
    read = ONE_OF_EACH["saelens"].write(tmp_path / "sae")
    (read / "sae_weights.safetensors").unlink()
    assert refusal(read).startswith(f"SAE folder {read} has no sae_weights.safetensors, to which its configuration")


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (lambda f: renamed(ONE_OF_EACH["gemma_scope"].write(f), f, "params.npz"), "gemma-scope-2b-pt-res/layer_12"),
        (
            lambda f: renamed(BY_NAME["gemma_scope_2: jumprelu, no config"].write(f), f, "params.safetensors"),
            "resid_post/",
        ),
        (lambda f: renamed(ONE_OF_EACH["openai"].write(f), f, "some.pt"), "autoencoders/8.pt"),
        (lambda f: renamed(ONE_OF_EACH["goodfire"].write(f), f, "some.pth"), "SAE-l19.pth"),
        (lambda f: renamed(ONE_OF_EACH["qwen_scope"].write(f), f, "layer1.sae.pt"), "how many features they keep"),
    ],
)
def test_names_that_do_not_tell_what_files_do_not_are_said(
    tmp_path: Path, write: Callable[[Path], Path], says: str
) -> None:
    assert says in refusal(write(tmp_path / "sae"))


def renamed(read: Path, folder: Path, name: str) -> Path:
    """The weights alone, in a folder whose name says nothing."""
    weights = read if read.is_file() else read / name
    (folder.parent / "plain").mkdir()
    return Path(shutil.move(weights, folder.parent / "plain" / name))


@pytest.mark.parametrize("name", ["gemma_scope", "openai", "goodfire"])
def test_a_folder_may_be_named_by_its_hook(tmp_path: Path, name: str) -> None:
    read = ONE_OF_EACH[name].write(tmp_path / "sae")
    weights = read if read.is_file() else read / "params.npz"
    (tmp_path / "blocks.7.hook_mlp_out").mkdir()
    moved = shutil.move(weights, tmp_path / "blocks.7.hook_mlp_out" / weights.name)
    assert read_sae(Path(moved)).config.hook == Hook(7, "mlp_out")


def test_which_sae_of_several_is_meant_is_asked(tmp_path: Path) -> None:
    for name in ("layer_3/width_16k/average_l0_5", "layer_4/width_16k/average_l0_6"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "params.npz").touch()
    assert f"name one as {tmp_path}:layer_3/width_16k/average_l0_5" in refusal(tmp_path)
    for layer in range(6):
        (tmp_path / f"layer{layer}.sae.pt").touch()
    assert f"layer3.sae.pt, ...; name one as {tmp_path}:layer0.sae.pt" in refusal(tmp_path)


def test_a_pickle_of_something_else_is_no_sae(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "x.pt")
    assert "has the form of no known format (sparsify, saelens" in refusal(tmp_path / "x.pt")
    torch.save([torch.zeros(2)], tmp_path / "x.pt")
    assert "it holds a list instead of tensors by name" in refusal(tmp_path / "x.pt")
