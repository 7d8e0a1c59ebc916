"""The doctor lets a named subject's SAE read a little English, and says how that went."""

from pathlib import Path

import pytest
import torch

from agent.commands.doctor import Finding, examine
from agent.config import RunConfig
from probes.presets import SubjectSource
from tests.subjects import D_MODEL, N_FEATURES, sae_config, write_model, write_sae


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model")


def finding(model: Path, sae: Path, topic: str) -> Finding | None:
    source = SubjectSource.parse({"model": str(model), "sae": str(sae), "device": "cpu"})
    config = RunConfig(subject=source)
    return next((found for found in examine(config, subject_asked=True) if found.topic == topic), None)


def test_l0_and_explained_variance_are_told(model_folder: Path, tmp_path: Path) -> None:
    # features in pairs of opposite directions: whatever is read is written again, half of them firing
    axes = torch.eye(D_MODEL)
    pairs = torch.cat([axes, -axes])
    zeros = {"b_enc": torch.zeros(2 * D_MODEL), "b_dec": torch.zeros(D_MODEL)}
    sae = write_sae(tmp_path, sae_config(d_sae=2 * D_MODEL), W_enc=pairs.T.contiguous(), W_dec=pairs, **zeros)
    found = finding(model_folder, sae, "SAE")
    assert found is not None
    assert found.good
    assert found.text.startswith(f"L0 {D_MODEL:.1f} features per token, explained variance 1.00, over ")


def test_an_sae_that_does_not_fit_is_said_to(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, write_sae(tmp_path), "SAE")
    assert found is not None
    assert not found.good
    assert f"of {N_FEATURES} features firing per token" in found.text


def test_without_an_sae_nothing_is_read(model_folder: Path, tmp_path: Path) -> None:
    found = finding(model_folder, tmp_path, "subject")
    assert found is not None
    assert not found.good
    assert finding(model_folder, tmp_path, "SAE") is None
