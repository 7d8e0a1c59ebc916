"""Models loaded in a precision, on devices and from a quantised folder that were asked for, or one sentence why not."""

import importlib.util
import json
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from probes.errors import SettingsError, SubjectError
from probes.model import loading
from probes.model.loading import devices_of, load_model, stored_rows
from probes.presets import SubjectSource
from probes.subject import load_subject
from tests.family_checks import agreement, grown, identity_logits, lens_difference, logits_of, stream_difference
from tests.family_models import family_source, family_subject
from tests.family_table import FAMILIES, LAYERS
from tests.subjects import VOCAB

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> SubjectSource:
    return family_source(tmp_path_factory.mktemp("llama"), FAMILIES["llama"])


def asked(source: SubjectSource, **more: object) -> SubjectSource:
    return SubjectSource.parse({"model": source.model, "sae": source.sae, **more})


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gemma", "gemma4", "gpt2", "granite"])
def test_ghosts_are_tokens_to_the_bit_in_half_precision_too(tmp_path: Path, name: str, dtype: str) -> None:
    subject = family_subject(tmp_path, FAMILIES[name], dtype=dtype)
    assert subject.card.dtype == dtype
    assert {weights.dtype for weights in subject.model.parameters()} == {getattr(torch, dtype)}
    assert subject.embedding.dtype == subject.sae.b_dec.dtype == torch.float32
    plain, haunted, _ = identity_logits(subject)
    assert torch.equal(plain, haunted)


def test_the_rows_of_a_float32_model_are_its_own(source: SubjectSource) -> None:
    folder = Path(source.model or "")
    model = load_model(folder, CPU)
    assert model.dtype == torch.float32
    assert stored_rows(model).data_ptr() == model.get_input_embeddings().weight.data_ptr()
    half = load_model(folder, CPU, "bfloat16")
    assert torch.equal(stored_rows(half), half.get_input_embeddings().weight.float())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dtype": "int8"}, "dtype='int8' is not usable"),
        ({"device_map": "everywhere"}, "device_map='everywhere' is not usable"),
        ({"device_map": "auto", "device": "cpu"}, "either --device or --device-map, not both"),
        ({"per_layer": -1}, "per_layer=-1 is not usable: it is placeholder, zeros, or a token's id"),
    ],
)
def test_what_cannot_be_asked_for_is_said(source: SubjectSource, fields: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        asked(source, **fields)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a package one that is not installed, and all others that are."""

    def hide(package: str) -> None:
        def find(name: str) -> ModuleSpec | None:
            return None if name == package else ModuleSpec(name, None)

        monkeypatch.setattr(importlib.util, "find_spec", find)

    return hide


def quantised(folder: Path, config: dict[str, Any]) -> Path:
    """The folder of a model whose configuration says that it is quantised."""
    told = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(told | {"quantization_config": config}))
    return folder


def test_what_a_quantised_model_needs_is_named(tmp_path: Path, without: Callable[[str], None]) -> None:
    source = family_source(tmp_path, FAMILIES["llama"])
    quantised(tmp_path / "model", {"quant_method": "bitsandbytes", "load_in_4bit": True})
    for package in ("bitsandbytes", "accelerate"):
        without(package)
        with pytest.raises(SubjectError, match=f"is quantised.* needs the package {package}; install it with: pip"):
            load_subject(source)


def test_a_way_of_quantising_that_nobody_knows_is_one_sentence(tmp_path: Path) -> None:
    source = family_source(tmp_path, FAMILIES["llama"])
    quantised(tmp_path / "model", {"quant_method": "by-hand"})
    with pytest.raises(SubjectError, match="is quantised by by-hand, which transformers cannot read"):
        load_subject(source)
    quantised(tmp_path / "model", {"bits": 4})
    with pytest.raises(SubjectError, match=r"quantised model in .* cannot be loaded"):
        load_subject(source)


def test_a_model_may_be_quantised_as_it_is_loaded(source: SubjectSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(loading, "BitsAndBytesConfig", lambda **how: how)
    made, told = loading.AutoModelForCausalLM.from_pretrained, []

    def plain(*args: Any, quantization_config: object = "nothing", **kwargs: Any) -> Any:
        told.append(quantization_config)
        return made(*args, **{**kwargs, "device_map": None})

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", plain)
    for quantise in ("8bit", "4bit"):
        assert load_subject(asked(source, quantise=quantise)).card.dtype == f"float32 {quantise}"
    assert load_subject(source).card.dtype == "float32"
    assert told == [{"load_in_8bit": True}, {"load_in_4bit": True}, "nothing"]


def test_what_cannot_be_quantised_is_said(tmp_path: Path, without: Callable[[str], None]) -> None:
    source = family_source(tmp_path, FAMILIES["llama"])
    without("bitsandbytes")
    with pytest.raises(SubjectError, match=r"--quantise 4bit .* needs the package bitsandbytes; install it with: pip"):
        load_subject(asked(source, quantise="4bit"))
    quantised(tmp_path / "model", {"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(SubjectError, match="is quantised already; leave --quantise 8bit out"):
        load_subject(asked(source, quantise="8bit"))


def test_bitsandbytes_keeps_what_is_read_of_the_demo() -> None:
    pytest.importorskip("bitsandbytes")
    subject = load_subject(SubjectSource(device="cpu", quantise="8bit"))
    assert "Linear8bitLt" in {type(module).__name__ for module in subject.model.modules()}
    plain, haunted, _ = identity_logits(subject)
    assert torch.equal(plain, haunted)
    exact = identity_logits(load_subject(SubjectSource(device="cpu")))[0]
    assert 0 < float((plain - exact).abs().max() / exact.std()) < 0.5


def test_embeddings_in_whole_numbers_are_refused(source: SubjectSource, monkeypatch: pytest.MonkeyPatch) -> None:
    made = loading.AutoModelForCausalLM.from_pretrained

    def in_int8(*args: Any, **kwargs: Any) -> Any:
        model, report = made(*args, **kwargs)
        weight = torch.zeros(VOCAB, 32, dtype=torch.int8)
        model.get_output_embeddings().weight = nn.Parameter(weight, requires_grad=False)
        return model, report

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", in_int8)
    with pytest.raises(SubjectError, match="has its embeddings quantised"):
        load_subject(source)


def test_spreading_a_model_needs_accelerate(source: SubjectSource, without: Callable[[str], None]) -> None:
    without("accelerate")
    with pytest.raises(SubjectError, match="is to be spread over devices, which needs the package accelerate"):
        load_subject(asked(source, device_map="auto"))


def test_a_model_that_accelerate_places_is_the_same(source: SubjectSource) -> None:
    pytest.importorskip("accelerate")
    spread, whole = load_subject(asked(source, device_map="auto", dtype="float32")), load_subject(source)
    assert spread.card.device == devices_of(spread.model)
    ids = [1, 2, 3, 4]
    assert torch.allclose(logits_of(spread, ids), logits_of(whole, ids).to(spread.model.device), atol=1e-4)


def test_what_is_read_of_a_model_behind_accelerate_s_hooks_is_the_same(source: SubjectSource) -> None:
    accelerate = pytest.importorskip("accelerate")
    subject = load_subject(source)
    parts = ("embed_tokens", *(f"layers.{layer}" for layer in range(LAYERS)), "norm", "rotary_emb")
    places = {f"model.{part}": "cpu" for part in parts} | {"lm_head": "cpu"}
    accelerate.dispatch_model(subject.model, places, main_device="cpu", force_hooks=True)
    plain, haunted, _ = identity_logits(subject)
    assert torch.equal(plain, haunted)
    assert stream_difference(subject) < 1e-5
    assert (lens_difference(subject) or 0) < 1e-4
    for tree in grown(subject):
        found = agreement(subject, tree)
        assert found.n_apart == 0
        assert found.difference < 1e-4
        assert found.n_nodes > 30


def test_a_model_that_does_not_fit_is_refused(source: SubjectSource, monkeypatch: pytest.MonkeyPatch) -> None:
    made = loading.AutoModelForCausalLM.from_pretrained

    def offloaded(*args: Any, **kwargs: Any) -> Any:
        model, report = made(*args, **kwargs)
        model.model.layers[2].to("meta")  # as accelerate leaves what it keeps on the disk
        return model, report

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", offloaded)
    with pytest.raises(SubjectError, match="does not fit the devices' memory"):
        load_subject(source)
