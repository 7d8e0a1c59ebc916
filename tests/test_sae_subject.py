"""SAEs of any format as part of a subject: from the hub, through SAELens' package, at one site or two."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch

from eval.collect.corpora import Document
from eval.collect.self_check import SelfCheck, measured
from eval.collect.windows import WindowCutter
from probes.errors import SubjectError
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from tests.sae_arrays import D, K, N
from tests.sae_cases import ONE_OF_EACH
from tests.subjects import D_MODEL, sae_config, sae_tensors, write_model, write_sae

pytestmark = pytest.mark.usefixtures("sae_cache")


def test_of_a_hub_s_pickles_the_named_one_alone_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ONE_OF_EACH["qwen_scope"].write(tmp_path)
    asked: list[Sequence[str]] = []

    def snapshot_download(_repo: str, *, allow_patterns: Sequence[str], **_more: object) -> str:
        asked.append(allow_patterns)
        return str(tmp_path / f"SAE-Res-Qwen3-8B-Base-W64K-L0_{K}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    write_model(tmp_path / "model", hidden_size=D)
    source = {"model": str(tmp_path / "model"), "device": "cpu"}
    subject = load_subject(SubjectSource.parse({**source, "sae": "Qwen/scope:layer1.sae.pt"}))
    assert (subject.sae.config.k, subject.card.n_features) == (K, N)
    assert asked == [["layer1.sae.pt", "config.json", "cfg.json", "config.yaml"]]
    local = f"{tmp_path}/SAE-Res-Qwen3-8B-Base-W64K-L0_{K}:layer1.sae.pt"
    assert load_subject(SubjectSource.parse({**source, "sae": local})).card.fingerprint == subject.card.fingerprint
    with pytest.raises(SubjectError, match=r"on the hub has no file 'layer2\.sae\.pt'"):
        load_subject(SubjectSource.parse({**source, "sae": "Qwen/scope:layer2.sae.pt"}))


class Lens:
    """As much of SAELens' package as is used."""

    __version__ = "6.0"
    asked: list[tuple[str, str]]

    def __init__(self) -> None:
        self.asked = []
        self.SAE = SimpleNamespace(from_pretrained=self.from_pretrained)

    def from_pretrained(self, release: str, sae_id: str, device: str) -> Any:
        assert device == "cpu"
        self.asked.append((release, sae_id))
        if release != "known":
            raise ValueError(f"Release {release} not found.\nIt is in no list.")
        tensors = {name: tensor.requires_grad_() for name, tensor in sae_tensors().items()}
        return SimpleNamespace(cfg=SimpleNamespace(to_dict=sae_config), state_dict=lambda: tensors)


def test_saelens_list_is_read_through_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lens = Lens()
    monkeypatch.setitem(sys.modules, "sae_lens", lens)
    write_model(tmp_path / "model")
    source = {"model": str(tmp_path / "model"), "device": "cpu"}
    named = SubjectSource.parse({**source, "sae": "saelens:known/layer_1/width_16k"})
    folder = SubjectSource.parse({**source, "sae": str(write_sae(tmp_path / "sae"))})
    subject, same = load_subject(named), load_subject(folder)
    assert torch.equal(subject.sae.W_enc, same.sae.W_enc)
    assert (subject.card.sae_revision, subject.card.hook) == ("sae-lens 6.0", "blocks.1.hook_resid_post")
    load_subject(named)
    assert lens.asked == [("known", "layer_1/width_16k")]
    with pytest.raises(SubjectError, match=r"cannot be had through sae-lens: Release other not found\.$"):
        load_subject(SubjectSource.parse({**source, "sae": "saelens:other/x"}))
    with pytest.raises(SubjectError, match="has not the form saelens:RELEASE/ID"):
        load_subject(SubjectSource.parse({**source, "sae": "saelens:other"}))


def test_without_that_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sae_lens", None)
    source = SubjectSource.parse({"model": str(tmp_path), "sae": "saelens:known/x", "device": "cpu"})
    with pytest.raises(SubjectError, match=r"not installed here; pip install 'sae-interpret\[saelens\]'"):
        load_subject(source)


def subject_with(folder: Path, family: str, d_in: int = D_MODEL, **config: Any) -> Subject:
    write_model(folder / "model", family)
    tensors = sae_tensors(d_in)
    write_sae(folder / "sae", sae_config(d_in=d_in, **config), **tensors)
    return load(folder)


def load(folder: Path) -> Subject:
    return load_subject(
        SubjectSource.parse({"model": str(folder / "model"), "sae": str(folder / "sae"), "device": "cpu"})
    )


def test_a_transcoder_s_sides_live_at_two_sites(tmp_path: Path) -> None:
    sites = {"hook_name": "blocks.0.ln2.hook_normalized", "hook_name_out": "blocks.0.hook_mlp_out"}
    config = {"architecture": "transcoder", "d_out": D_MODEL, "metadata": sites}
    subject = subject_with(tmp_path, "gemma2", **config)
    assert subject.card.hook == "blocks.0.ln2.hook_normalized -> blocks.0.hook_mlp_out"
    assert torch.equal(subject.encoder_rows([3]), sae_tensors()["W_enc"].T[[3]])
    assert torch.equal(subject.decoder_rows([3]), sae_tensors()["W_dec"][[3]])


def test_directions_of_an_attention_sae_come_in_the_stream_s_dimensions(tmp_path: Path) -> None:
    z = {"metadata": {"hook_name": "blocks.1.attn.hook_z"}}
    subject = subject_with(tmp_path, "llama", d_in=32, **z)
    projection = subject.model.model.layers[1].self_attn.o_proj.weight
    torch.testing.assert_close(subject.decoder_rows([3, 1]), sae_tensors()["W_dec"][[3, 1]] @ projection.T)
    assert subject.card.d_model == D_MODEL


def test_an_sae_of_another_width_than_its_site_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match=r"made for vectors of 20 dimensions at blocks\.1\.attn\.hook_z.* have 32"):
        subject_with(tmp_path, "llama", d_in=20, metadata={"hook_name": "blocks.1.attn.hook_z"})


@pytest.mark.parametrize(
    ("writes", "explains"),
    [("blocks.1.hook_resid_pre", True), ("blocks.2.hook_resid_pre", False)],
)
def test_what_a_transcoder_explains_is_what_it_writes(tmp_path: Path, writes: str, explains: bool) -> None:
    sites = {"hook_name": "blocks.0.hook_resid_post", "hook_name_out": writes}
    config = sae_config(architecture="skip_transcoder", d_out=D_MODEL, metadata=sites)
    nothing = {name: torch.zeros_like(tensor) for name, tensor in sae_tensors().items()}
    write_sae(tmp_path / "sae", config, **nothing, W_skip=torch.eye(D_MODEL))
    write_model(tmp_path / "model")
    found = read_english(load(tmp_path))
    assert found.explained_variance is not None
    assert (found.explained_variance == 1) == explains


def read_english(subject: Subject) -> SelfCheck:
    text = Document("text", "the cat sat on the mat and the dog ran after the ball in the garden of the old house")
    return measured(subject, next(WindowCutter(subject, 64, 64).batches([text], 64)))
