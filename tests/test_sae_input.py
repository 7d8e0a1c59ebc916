"""What an SAE's input is multiplied by, as it is asked for, pinned by a preset, or found on a text."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.config import resolve
from eval.collect.corpora import CorpusFaults, documents
from eval.collect.self_check import self_check
from eval.collect.windows import WindowCutter
from eval.errors import ExamplesError
from probes.errors import SettingsError, SubjectError
from probes.hooks.activations import residual
from probes.hooks.sae_input import PASSAGE
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from tests.subjects import D_MODEL, sae_config, write_model, write_sae

Loaded = Callable[..., Subject]


@pytest.fixture
def loaded(tmp_path: Path, model_folder: Path) -> Loaded:
    """Loads the tiny model with an SAE of that configuration and these options."""

    def load(config: dict[str, Any] | None = None, **options: Any) -> Subject:
        sae = write_sae(tmp_path / "sae", config)
        return load_subject(
            SubjectSource.parse({"model": str(model_folder), "sae": str(sae), "device": "cpu", **options})
        )

    return load


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def mean_length(subject: Subject, x: torch.Tensor) -> float:
    return float(subject.sae.normalised(x)[0, 1:].norm(dim=-1).mean())


def passage(subject: Subject) -> torch.Tensor:
    """Returns what the model has of the passage's first tokens where the SAE reads."""
    ids = subject.tokenizer(PASSAGE, truncation=True, max_length=128, return_tensors="pt").input_ids
    return residual(subject.model, ids, subject.sae.config.hook)


def test_auto_makes_the_mean_length_that_of_training(loaded: Loaded) -> None:
    plain, found = loaded(), loaded(input_scale="auto")
    x = passage(plain)
    assert mean_length(plain, x) != pytest.approx(D_MODEL**0.5, rel=0.05)
    assert mean_length(found, x) == pytest.approx(D_MODEL**0.5, rel=5e-3)
    expected = D_MODEL**0.5 / float(x[0, 1:].norm(dim=-1).mean())
    assert found.card.sae_input_scale == pytest.approx(expected, rel=5e-3)
    assert found.card.sae_input_scale == float(f"{found.card.sae_input_scale:.3g}")


def test_a_number_multiplies_what_the_sae_reads(loaded: Loaded) -> None:
    plain, scaled = loaded(), loaded(input_scale=0.25)
    x = passage(plain)
    assert torch.equal(scaled.sae.encode(x), plain.sae.encode(0.25 * x))
    assert scaled.card.sae_input_scale == 0.25
    assert (plain.card.sae_input_scale, loaded(input_scale=1).card) == (1, plain.card)


def test_it_comes_on_top_of_what_the_files_say_and_auto_of_what_is_left(loaded: Loaded) -> None:
    stored = sae_config(normalize_activations="expected_average_only_in", norm_scaling_factor=0.5)
    assert loaded(stored, input_scale=0.5).sae.input_scale == 0.25
    left, whole = loaded(stored, input_scale="auto"), loaded(input_scale="auto")
    assert left.sae.input_scale == pytest.approx(whole.sae.input_scale, rel=1e-2)


def test_a_constant_that_saelens_stores_is_kept_and_one_that_it_does_not_is_asked_for(loaded: Loaded) -> None:
    constant = {"normalize_activations": "constant_scalar_rescale"}
    assert loaded(sae_config(**constant, activation_normalization_factor=0.3)).sae.input_scale == 0.3
    with pytest.raises(SubjectError, match=r"times a constant that its files do not tell; give it by --input-scale"):
        loaded(sae_config(**constant))
    assert loaded(sae_config(**constant), input_scale=1).sae.input_scale == 1
    assert loaded(sae_config(**constant), input_scale="auto").sae.input_scale != 1


def test_other_activations_are_another_subject(loaded: Loaded) -> None:
    prints = {loaded(input_scale=scale).card.fingerprint for scale in (1, 0.2, 0.3)}
    assert len(prints) == 3


@pytest.mark.parametrize("normalisation", ["layer_norm", "constant_norm_rescale"])
def test_an_sae_that_brings_its_input_to_one_size_itself_takes_none(loaded: Loaded, normalisation: str) -> None:
    config = sae_config(normalize_activations=normalisation)
    with pytest.raises(SubjectError, match=rf"--input-scale auto would change nothing: .* \({normalisation}\)"):
        loaded(config, input_scale="auto")


def test_activations_without_a_size_are_said_to_be(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probes.hooks.sae_input.residual", lambda *_: torch.full((1, 9, D_MODEL), torch.inf))
    with pytest.raises(SubjectError, match=r"mean length of activations at blocks\.1\.hook_resid_post is (inf|nan)"):
        loaded(input_scale="auto")


@pytest.mark.parametrize("scale", [0, -1, "twice", True, float("inf")])
def test_what_is_no_factor_is_refused(scale: object) -> None:
    with pytest.raises(
        SettingsError,
        match=r"input_scale=.* is not usable: an input scale is a number above 0 and at most 1,000,000,000, or auto",
    ):
        SubjectSource.parse({"input_scale": scale})


def test_a_factor_survives_json() -> None:
    source = SubjectSource.parse({"input_scale": "auto"})
    assert SubjectSource.parse(json.loads(source.model_dump_json())) == source


def test_who_has_an_sae_that_wants_another_size_is_told_of_the_option() -> None:
    subject = load_subject(SubjectSource(name="demo", device="cpu", input_scale=5.0))
    texts = islice(documents("demo", CorpusFaults()), 100)
    with pytest.raises(ExamplesError, match=r"0\.2 times as large it fits.* try --input-scale 1, or auto"):
        self_check(subject, next(WindowCutter(subject, 128, 4096).batches(texts, 4096)))


def test_it_may_be_asked_for_by_option_or_in_a_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text('[subject]\ninput-scale = "auto"\n')
    assert resolve({}, file).subject.input_scale == "auto"
    assert resolve({"input-scale": 0.2138}, file).subject.preset.input_scale == 0.2138
