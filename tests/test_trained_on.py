"""Who gives an SAE without its model is told which one its configuration names."""

import json
from pathlib import Path
from typing import Any

import pytest

from probes.errors import SettingsError
from probes.presets import SubjectSource


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("cfg.json", {"metadata": {"model_name": "gemma-2b"}}),
        ("cfg.json", {"model_name": "gemma-2b"}),
        ("config.json", {"trainer": {"lm_name": "gemma-2b"}}),
    ],
)
def test_an_sae_without_its_model_says_which_one_it_was_trained_on(
    tmp_path: Path, name: str, config: dict[str, Any]
) -> None:
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / name).write_text(json.dumps(config))
    for place in (tmp_path / "sae", f"{tmp_path}:sae"):
        with pytest.raises(SettingsError, match="; name gemma-2b, which it was trained on, by --model"):
            SubjectSource.parse({"sae": str(place)})
    (tmp_path / "sae" / name).write_text("[]")
    with pytest.raises(SettingsError, match="; name the one it was trained on by --model"):
        SubjectSource.parse({"sae": str(tmp_path / "sae")})
