"""Makes a grid of settings and the subjects from the options of `interpret compare`."""

from collections.abc import Iterable, Iterator
from typing import Any

from eval.compare.grid import Grid
from probes.settings import AUTO, PROMPTS, AdapterFile

_AXES = ("weights", "scale", "centroid", "pca", "adapter", "prompt", "exponent")

_NONE = "none"
"""Instead of an adapter's file."""


def grid_of(options: dict[str, Any]) -> tuple[Grid, dict[str, Any]]:
    """Returns the grid, and the other options."""
    left = dict(options)
    flags = {True: left.pop("with_centroid"), False: left.pop("without_centroid")}
    asked = {
        "weights": left.pop("weights"),
        "scale": left.pop("scale"),
        "centroid": tuple(value for value, is_set in flags.items() if is_set),
        "pca": left.pop("pca"),
        "adapter": tuple(None if path == _NONE else AdapterFile.at(path) for path in left["adapters"]),
        "prompt": tuple(prompt for text in left.pop("prompts") for prompt in _prompts(text)),
        "exponent": left.pop("exponent"),
    }
    if not asked["weights"]:
        asked["weights"] = _fitted_to(left["adapters"])
    del left["adapters"]
    return Grid({axis: asked[axis] for axis in _AXES if asked[axis]}), left


def _fitted_to(adapters: Iterable[str]) -> tuple[str, ...]:
    """Returns the weights that these adapters are for, each once."""
    from probes.ghost.adapter import fitted_weights  # here, since most grids have none and would wait for it

    return tuple(dict.fromkeys(fitted_weights(path) for path in adapters if path != _NONE))


def subjects_of(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Returns the options once for each named subject."""
    names, saes = options["subject"], options["sae"]
    for name in names or [None]:
        for sae in saes or [None]:
            yield options | {"subject": name, "sae": sae}


def _prompts(text: str) -> list[str]:
    """Returns several prompts if all parts between commas are names, else one text."""
    parts = [part.strip() for part in text.split(",")]
    return parts if all(part in (AUTO, *PROMPTS) for part in parts) else [text]
