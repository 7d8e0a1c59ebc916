"""Subjects: found locally or through the hub, checked against each other, and every failure one sentence."""

import json
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors.torch import save_file

from probes.errors import SettingsError, SubjectError
from probes.evidence import ProbeRequest, Tree
from probes.model import fingerprint as fingerprints
from probes.model.fingerprint import fingerprint
from probes.presets import PRESETS, SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings, TreeSettings
from probes.subject import choose_device, load_subject
from tests.subjects import D_MODEL, N_FEATURES, VOCAB, sae_config, sae_tensors, write_model, write_sae

COMMITS = {"google/gemma-2b": "a" * 40, "jbloom/Gemma-2b-Residual-Stream-SAEs": "b" * 40}
ANSWER: Any = SimpleNamespace(headers={}, request=None)
"""As much of an HTTP response as the hub's errors look at."""
OLD_CONFIG = {
    "model_name": "gemma-2b",
    "hook_point": "blocks.1.hook_resid_post",
    "hook_point_layer": 1,
    "hook_point_head_index": None,
    "d_in": D_MODEL,
    "d_sae": N_FEATURES,
    "dtype": "torch.float32",
    "prepend_bos": True,
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def sae_folder(tmp_path: Path) -> Path:
    return write_sae(tmp_path / "sae")


def source(model: object, sae: object, **more: str) -> SubjectSource:
    return SubjectSource.parse({"model": str(model), "sae": str(sae), "device": "cpu", **more})


class Hub:
    """A hub of two repositories laid out as the real ones are; it gives what is asked for, and remembers what was."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.asked: list[str] = []
        model = write_model(self.upstream("google/gemma-2b"), max_position_embeddings=64)
        (model / "pytorch_model.bin").write_bytes(b"a pickle")
        (model / "gemma-2b.gguf").write_bytes(b"another form")
        (model / "original").mkdir()
        (model / "original" / "consolidated.safetensors").write_bytes(b"the same in another layout")
        for preset in (preset for name, preset in PRESETS.items() if name.startswith("gemma")):
            repo, _, folder = preset.sae.partition(":")
            write_sae(self.upstream(repo) / folder, OLD_CONFIG)
            (self.upstream(repo) / folder / "sparsity.safetensors").write_bytes(b"not needed")

    def upstream(self, repo: str) -> Path:
        folder = self._root / "upstream" / repo
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def snapshot_download(
        self, repo: str, *, allow_patterns: list[str], ignore_patterns: str | None, **_kwargs: object
    ) -> str:
        self.asked.append(repo)
        snapshot = self._root / "cache" / repo.replace("/", "--") / "snapshots" / COMMITS[repo]
        snapshot.mkdir(parents=True, exist_ok=True)
        for path in self.upstream(repo).rglob("*"):
            name = path.relative_to(self.upstream(repo)).as_posix()
            ignored = ignore_patterns is not None and fnmatch(name, ignore_patterns)
            if path.is_file() and not ignored and any(fnmatch(name, pattern) for pattern in allow_patterns):
                (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, snapshot / name)
        return str(snapshot)

    def fetched(self) -> set[str]:
        return {path.name for path in (self._root / "cache").rglob("*") if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    return made


def test_the_original_saes_load_by_name(hub: Hub) -> None:
    # the tiny model has fewer tokens than the pinned placeholder's id, so another id stands in for it
    name = "gemma-2b/6-res-jb"
    with pytest.raises(SubjectError, match=f"Placeholder id 23070 .* vocabulary of {VOCAB}"):
        load_subject(SubjectSource(name=name, device="cpu"))
    assert hub.asked == ["jbloom/Gemma-2b-Residual-Stream-SAEs", "google/gemma-2b"]


@pytest.mark.parametrize("layer", [0, 6, 10, 12])
def test_the_original_saes_keep_the_notebook_s_settings(hub: Hub, monkeypatch: pytest.MonkeyPatch, layer: int) -> None:
    name = f"gemma-2b/{layer}-res-jb"
    monkeypatch.setitem(PRESETS, name, PRESETS[name].model_copy(update={"placeholder_id": 30}))
    subject = load_subject(SubjectSource(name=name, device="cpu"))
    card = subject.card
    assert (card.name, card.default_scale, card.placeholder_id) == (name, 3.8, 30)
    assert card.neuronpedia == f"https://neuronpedia.org/gemma-2b/{layer}-res-jb"
    assert (card.model_revision, card.sae_revision) == ("a" * 40, "b" * 40)
    pinned = {0: 1, 6: 1, 12: 0.2138}.get(layer, card.sae_input_scale)
    assert subject.sae.input_scale == card.sae_input_scale == pinned
    assert (card.sae_input_scale != 1) == (layer in (10, 12))  # for 10 the factor is found
    assert hub.fetched() == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} | {
        "cfg.json",
        "sae_weights.safetensors",
    }
    tree = run_probes(subject, [ProbeRequest("tree", 0, ProbeSettings(tree=TreeSettings(cutoff=0.01, max_depth=4)))])[0]
    assert isinstance(tree, Tree)
    assert tree.settings.vector.scale == 3.8
    assert tree.n_nodes > 1


def test_a_model_and_an_sae_by_hub_id(hub: Hub) -> None:
    sae = "jbloom/Gemma-2b-Residual-Stream-SAEs:gemma_2b_blocks.6.hook_resid_post_16384_anthropic_fast_lr"
    card = load_subject(source("google/gemma-2b", sae)).card
    assert (card.model, card.sae) == ("google/gemma-2b", sae)
    assert (card.model_revision, card.sae_revision) == ("a" * 40, "b" * 40)
    assert (card.hook, card.layer, card.d_model) == ("blocks.1.hook_resid_post", 1, D_MODEL)
    assert hub.asked == ["jbloom/Gemma-2b-Residual-Stream-SAEs", "google/gemma-2b"]


@pytest.mark.usefixtures("hub")
def test_an_sae_repository_of_many_wants_a_subfolder() -> None:
    repo = "jbloom/Gemma-2b-Residual-Stream-SAEs"
    with pytest.raises(SubjectError, match=r"has no cfg\.json; .*REPO:SUBFOLDER"):
        load_subject(source("google/gemma-2b", repo))
    with pytest.raises(SubjectError, match="no folder 'layer_99'"):
        load_subject(source("google/gemma-2b", f"{repo}:layer_99"))


@pytest.mark.parametrize(
    ("error", "offline", "says"),
    [
        (lambda: GatedRepoError("no", response=ANSWER), False, "is gated: accept its licence at .*hf auth login"),
        (lambda: RepositoryNotFoundError("no", response=ANSWER), False, "is not on the hub.*check the id"),
        (lambda: LocalEntryNotFoundError("no"), True, "HF_HUB_OFFLINE forbids fetching"),
        (lambda: OfflineModeIsEnabled("no"), True, "HF_HUB_OFFLINE forbids fetching"),
        (lambda: LocalEntryNotFoundError("no"), False, "hub cannot be reached; check the network"),
        (lambda: HfHubHTTPError("500 broken\nat length", response=ANSWER), False, "the hub answered 500 broken"),
        (lambda: OSError(28, "No space left on device"), False, "No space left on device"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, sae_folder: Path, error: Callable[[], Exception], offline: bool, says: str
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> str:
        raise error()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(SubjectError, match=says) as caught:
        load_subject(source("google/gemma-2b", sae_folder))
    assert "google/gemma-2b" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fault_of_ours_is_not_the_hub_s(monkeypatch: pytest.MonkeyPatch, sae_folder: Path) -> None:
    def fail(*_args: object, **_kwargs: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ZeroDivisionError):
        load_subject(source("google/gemma-2b", sae_folder))


def test_local_folders(model_folder: Path, sae_folder: Path) -> None:
    subject = load_subject(source(model_folder, sae_folder))
    card = subject.card
    assert (card.model_revision, card.sae_revision, card.neuronpedia) == ("local", "local", None)
    assert (card.vocab, card.n_features, card.dtype, card.device) == (VOCAB, N_FEATURES, "float32", "cpu")
    assert card.placeholder_id == subject.tokenizer.convert_tokens_to_ids("<unused0>")
    assert not subject.model.training
    assert subject.embedding.dtype == torch.float32
    again = load_subject(source(model_folder, f"{sae_folder.parent}:{sae_folder.name}")).card
    assert again.fingerprint == card.fingerprint
    assert type(card).parse(card.model_dump(mode="json")) == card


def test_a_placeholder_may_be_pinned_beside_the_model(model_folder: Path, sae_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "subject.json").write_text(json.dumps({"placeholder_id": 77}))
    assert load_subject(source(tmp_path / "model", sae_folder)).card.placeholder_id == 77


def test_neuronpedia_s_page_is_taken_from_the_configuration(model_folder: Path, tmp_path: Path) -> None:
    config = sae_config()
    config["metadata"]["neuronpedia_id"] = "tiny/1-res"
    card = load_subject(source(model_folder, write_sae(tmp_path / "sae", config))).card
    assert card.neuronpedia == "https://neuronpedia.org/tiny/1-res"


def test_an_sae_of_other_dimensions_does_not_fit(model_folder: Path, tmp_path: Path) -> None:
    write_sae(tmp_path, sae_config(d_in=16), **sae_tensors(16))
    with pytest.raises(SubjectError, match=f"vectors of 16 dimensions, but those of model .* have {D_MODEL}"):
        load_subject(source(model_folder, tmp_path))


def test_an_sae_of_a_later_layer_does_not_fit(model_folder: Path, tmp_path: Path) -> None:
    write_sae(tmp_path, sae_config(metadata={"hook_name": "blocks.3.hook_resid_post"}))
    with pytest.raises(SubjectError, match=r"blocks\.3\.hook_resid_post, but model .* has layers 0 to 2"):
        load_subject(source(model_folder, tmp_path))


def test_what_is_missing_in_a_model_folder_is_said(model_folder: Path, sae_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "model"))
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(SubjectError, match=r"tokenizer in .* cannot be loaded") as caught:
        load_subject(source(copy, sae_folder))
    assert "\n" not in str(caught.value)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(SubjectError, match=r"no weights in \.safetensors"):
        load_subject(source(copy, sae_folder))
    (copy / "pytorch_model.bin").rename(copy / "model.safetensors")
    (copy / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(SubjectError, match=r"configuration in .* cannot be loaded"):
        load_subject(source(copy, sae_folder))
    (copy / "config.json").unlink()
    with pytest.raises(SubjectError, match=r"has no config\.json"):
        load_subject(source(copy, sae_folder))


def test_weights_that_lack_a_tensor_are_refused(model_folder: Path, sae_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "model"))
    save_file({"model.embed_tokens.weight": torch.zeros(VOCAB, D_MODEL)}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(SubjectError, match="lack "):
        load_subject(source(copy, sae_folder))


@pytest.mark.parametrize("place", ["", "~nobody-of-this-name/model"])
def test_a_place_that_is_none_is_refused_before_anything_is_looked_for(
    model_folder: Path, sae_folder: Path, place: str
) -> None:
    with pytest.raises(SettingsError, match=r"is not usable"):
        source(place, sae_folder)
    with pytest.raises(SettingsError, match=r"is not usable"):
        source(model_folder, place)


@pytest.mark.parametrize("place", ["x" * 5000, "a\0b"])
def test_a_place_that_no_system_can_look_for_is_said(model_folder: Path, sae_folder: Path, place: str) -> None:
    for asked in (source(place, sae_folder), source(model_folder, place)):
        with pytest.raises(SubjectError, match=r"cannot be looked for on this machine|is not a folder on this machine"):
            load_subject(asked)


@pytest.mark.parametrize("place", ["./nowhere", "/no/such/folder", "a/b/c", "x y"])
def test_a_place_that_is_neither_folder_nor_hub_id_is_said(model_folder: Path, place: str) -> None:
    with pytest.raises(SubjectError, match="is not a folder on this machine"):
        load_subject(source(model_folder, place))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "nonesuch"}, "known by name are demo, smollm2, gemma-2b/0-res-jb"),
        ({"model": "a"}, "the model a comes without an SAE; name one by --sae"),
        ({"sae": "a"}, "the SAE a comes without a model; .* by --model"),
        ({"name": "demo", "model": "a", "sae": "b"}, "either --subject, or --model and --sae, not both"),
        ({"name": None}, "give --subject, or --model and --sae"),
        ({"device": "tpu"}, "a device is auto, cpu"),
    ],
)
def test_a_source_names_one_subject(fields: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        SubjectSource.parse(fields)


def test_the_default_subject_is_the_demo() -> None:
    assert SubjectSource().preset == PRESETS["demo"]
    assert SubjectSource(model="a", sae="b").name is None


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cuda", "mps", "cpu")
    with pytest.raises(SubjectError, match="Device cuda:99 is not available"):
        choose_device("cuda:99")


def test_the_fingerprint_sees_sizes_names_configs_and_sampled_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "BLOCK_BYTES", 4)
    weights, config = tmp_path / "w.safetensors", tmp_path / "config.json"
    weights.write_bytes(bytes(200))
    config.write_bytes(bytes(200))
    files = {"w": weights, "config": config}
    seen = {fingerprint(files), fingerprint({"v": weights, "config": config})}
    for path, change in [
        (config, bytes(99) + b"x" + bytes(100)),
        (weights, b"x" + bytes(199)),
        (weights, bytes(199) + b"x"),
        (weights, bytes(201)),
    ]:
        kept = path.read_bytes()
        path.write_bytes(change)
        seen.add(fingerprint(files))
        path.write_bytes(kept)
    assert len(seen) == 6
    assert fingerprint(files) in seen
