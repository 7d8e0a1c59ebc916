"""The model that an SAE on this machine says it was trained on, for messages. Reads one small JSON file; no torch."""

import json
from pathlib import Path
from typing import Any

_CONFIGS = ("cfg.json", "config.json")


def trained_on(sae: str) -> str | None:
    """The model's name in the configuration of the SAE at that place, `FOLDER` or `FOLDER:SUBFOLDER`; None for none."""
    base, _, below = sae.partition(":")
    folder = Path(base).expanduser() / below
    return next((name for config in _CONFIGS if (name := _named(_read(folder / config)))), None)


def _named(config: dict[str, Any]) -> str | None:
    """As SAELens, before and since version 6, Gemma Scope 2 and dictionary_learning write it."""
    inside = [config, config.get("metadata"), config.get("trainer")]
    names = (part.get(key) for part in inside if isinstance(part, dict) for key in ("model_name", "lm_name"))
    return next((name for name in names if isinstance(name, str) and name), None)


def _read(path: Path) -> dict[str, Any]:
    """Nothing where there is no such file; what is wrong with it is told when the SAE is loaded."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
