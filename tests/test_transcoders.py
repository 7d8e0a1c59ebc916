"""Transcoders of one layer and of many: what they write where, how one of many is named, and what is refused."""

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch

from probes.errors import SubjectError
from probes.presets import SubjectSource
from probes.sae_formats import read_sae, read_stored
from probes.settings import SteeringSettings
from probes.steering import FeatureSteering
from probes.subject import load_subject
from tests.sae_arrays import safetensors
from tests.subjects import D_MODEL, N_FEATURES, write_model
from tests.transcoder_cases import SPREAD, cross_layer, gemma_scope_2, per_layer, yaml


def test_decoder_rows_of_a_cross_layer_transcoder_are_summed_or_those_of_a_named_layer(tmp_path: Path) -> None:
    path = cross_layer()(tmp_path)
    sae = read_sae(path)
    assert torch.allclose(sae.decoder_rows([4, 0]), torch.from_numpy(SPREAD[[4, 0]].sum(1)), atol=1e-6)
    assert sae.config.sites == ("blocks.1.hook_resid_mid -> blocks.1.hook_mlp_out to that of block 3, decoders summed")
    for place, layer in enumerate((1, 2, 3)):
        one = read_stored(path, layer).sae
        assert torch.equal(one.decoder_rows([4]), torch.from_numpy(SPREAD[[4], place]))
        assert one.config.sites == f"blocks.1.hook_resid_mid -> blocks.{layer}.hook_mlp_out"


def test_the_layer_written_to_is_part_of_what_decides(tmp_path: Path) -> None:
    path = cross_layer()(tmp_path)
    assert read_stored(path).files.keys().isdisjoint(read_stored(path, 2).files)


@pytest.mark.parametrize("layer", [0, 4])
def test_a_layer_not_written_to_is_refused(tmp_path: Path, layer: int) -> None:
    with pytest.raises(SubjectError, match=f"no decoder for layer {layer}, only for 1 to 3"):
        read_stored(cross_layer()(tmp_path), layer)


def test_a_transcoder_of_one_layer_has_no_layers_to_name(tmp_path: Path) -> None:
    with pytest.raises(SubjectError, match="writes at one place, so no layer 1 of its decoder"):
        read_stored(per_layer()(tmp_path), 1)


def test_either_half_names_the_pair_and_a_folder_of_one_layer_names_itself(tmp_path: Path) -> None:
    path = cross_layer()(tmp_path)
    files = read_stored(path).files
    assert files.keys() == {"W_enc_1.safetensors", "W_dec_1.safetensors", "config.yaml"}
    assert read_stored(path.with_name("W_dec_1.safetensors")).files == read_stored(tmp_path).files == files


def test_a_folder_of_many_layers_says_how_to_name_one(tmp_path: Path) -> None:
    cross_layer()(tmp_path / "clt")
    safetensors(tmp_path / "clt" / "W_enc_10.safetensors", {"x": SPREAD})
    with pytest.raises(SubjectError, match=r"cross-layer transcoder of 2 layers, 1 to 10; name .*W_enc_1\.safetensors"):
        read_sae(tmp_path / "clt")
    per_layer()(tmp_path / "set")
    safetensors(tmp_path / "set" / "layer_2.safetensors", {"x": SPREAD})
    with pytest.raises(SubjectError, match=r"per-layer transcoders of 2 layers, 1 to 2; name .*layer_1\.safetensors"):
        read_sae(tmp_path / "set")
    inside = gemma_scope_2(tmp_path).parent
    safetensors(inside / "params_layer_2.safetensors", {"x": SPREAD})
    with pytest.raises(SubjectError, match=r"of 2 layers, 1 to 2; name a layer as .*params_layer_1\.safetensors"):
        read_sae(inside)


def test_a_list_of_transcoders_elsewhere_says_how_to_name_them(tmp_path: Path) -> None:
    listed = ["hf://google/gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76/params.npz"]
    yaml(tmp_path, model_kind="transcoder_set", transcoders=listed)
    with pytest.raises(SubjectError, match="as google/gemma-scope-2b-pt-transcoders:layer_0/width_16k/average_l0_76"):
        read_sae(tmp_path)


def test_crosscoders_are_refused(tmp_path: Path) -> None:
    inside = tmp_path / "crosscoder" / "layer_5_9_12_15_width_65k_l0_medium"
    safetensors(inside / "params_layer_0.safetensors", {"w_enc": SPREAD})
    with pytest.raises(SubjectError, match="crosscoder's, which reads several layers at once; that is not supported"):
        read_sae(inside)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"W_dec_1": SPREAD[:, 0]}, r"W_dec_1 has shape \[30, 12\], but the rest of the file asks for \[30, any, 12\]"),
        ({"W_dec_1": SPREAD[:, :, :5]}, r"W_dec_1 has shape \[30, 3, 5\]"),
        ({"other": SPREAD}, "have no tensor W_dec_1, only other"),
    ],
)
def test_decoders_of_another_shape_are_refused(tmp_path: Path, change: dict[str, np.ndarray], sentence: str) -> None:
    path = cross_layer()(tmp_path)
    safetensors(tmp_path / "W_dec_1.safetensors", change)
    with pytest.raises(SubjectError, match=sentence):
        read_sae(path)


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "\x00", "feature_input_hook: hook_nowhere\n"])
def test_a_damaged_configuration_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = per_layer()(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(SubjectError, match=r"^SAE configuration .*config\.yaml"):
        read_sae(path)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tiny model, and layer 1 of a cross-layer transcoder for its blocks 1 and 2."""
    folder = tmp_path_factory.mktemp("cross-layer")
    random = np.random.default_rng(0)
    encoder = random.normal(size=(N_FEATURES, D_MODEL)).astype(np.float32)
    decoders = random.normal(size=(N_FEATURES, 2, D_MODEL)).astype(np.float32)
    zeros = np.zeros(D_MODEL, np.float32)
    yaml(folder / "clt", feature_input_hook="hook_resid_mid", feature_output_hook="hook_mlp_out")
    parts = {"W_enc_1": encoder, "b_enc_1": np.zeros(N_FEATURES, np.float32), "b_dec_1": zeros}
    safetensors(folder / "clt" / "W_enc_1.safetensors", parts)
    safetensors(folder / "clt" / "W_dec_1.safetensors", {"W_dec_1": decoders})
    return str(write_model(folder / "model", "llama")), f"{folder / 'clt'}:W_enc_1.safetensors"


def test_a_subject_of_one_is_named_with_its_layer_or_without(places: tuple[str, str]) -> None:
    model, sae = places
    summed = load_subject(SubjectSource.parse({"model": model, "sae": sae}))
    second = load_subject(SubjectSource.parse({"model": model, "sae": f"{sae}@2"}))
    assert "block 2, decoders summed" in summed.card.hook
    assert second.card.hook.endswith("-> blocks.2.hook_mlp_out")
    assert summed.card.fingerprint != second.card.fingerprint
    assert summed.card.layer == second.card.layer == 1
    assert second.card.name.endswith("clt/W_enc_1.safetensors@2")
    assert str(Path(model).parent) not in second.card.name
    both = [load_subject(SubjectSource.parse({"model": model, "sae": f"{sae}@{layer}"})) for layer in (1, 2)]
    apart = sum(one.decoder_rows([3]) for one in both)
    assert torch.allclose(summed.decoder_rows([3]), apart, atol=1e-6)


def test_summed_decoders_are_no_place_to_steer_at(places: tuple[str, str]) -> None:
    model, sae = places
    steering = SteeringSettings(mode="add", strength=1.0, maximum=1.0)
    with pytest.raises(SubjectError, match="steered at one place; name one of its layers, as --sae PLACE@LAYER"):
        FeatureSteering(load_subject(SubjectSource.parse({"model": model, "sae": sae})), [0], [1.0], steering)
    one = load_subject(SubjectSource.parse({"model": model, "sae": f"{sae}@2"}))
    assert FeatureSteering(one, [0], [1.0], steering).everywhere in (True, False)


def test_a_model_without_the_last_layer_written_to_does_not_fit(places: tuple[str, str], tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "llama", num_hidden_layers=2)
    with pytest.raises(SubjectError, match="has layers 0 to 1"):
        load_subject(SubjectSource.parse({"model": str(model), "sae": places[1]}))


def test_of_a_hub_s_transcoder_only_the_named_layer_is_fetched(
    places: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def snapshot_download(_repo: str, *, allow_patterns: list[str], **_more: object) -> str:
        asked.extend(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    (tmp_path / "sub").symlink_to(Path(places[1].partition(":")[0]))
    place = "mntss/clt:sub/W_enc_1.safetensors@2"
    subject = load_subject(SubjectSource.parse({"model": places[0], "sae": place}))
    assert subject.card.hook == "blocks.1.hook_resid_mid -> blocks.2.hook_mlp_out"
    assert subject.card.name.endswith(place)
    assert set(asked) == {
        f"sub/{name}"
        for name in ("config.json", "cfg.json", "config.yaml", "W_enc_1.safetensors", "W_dec_1.safetensors")
    }
