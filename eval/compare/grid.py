"""Every combination of the settings asked for, as values, and the few words that tell one of them from another."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from agent.evidence.wording import vector_words
from probes.errors import SettingsError
from probes.settings import AdapterFile, ProbeSettings

MAX_SETTINGS = 1000
"""In one grid: what each is ahead by is compared, and so many comparisons say nothing any more."""

_GROUP = {
    "weights": "vector",
    "scale": "vector",
    "centroid": "vector",
    "pca": "vector",
    "adapter": "vector",
    "prompt": "tree",
    "exponent": "tokens",
}
"""The axes of a grid, and the settings that each belongs to."""


@dataclass(frozen=True)
class Grid:
    """The settings to compare, by axis; an axis that is absent stays as the other settings have it."""

    axes: Mapping[str, Sequence[Any]]
    """`weights`, `scale` (None: the subject's own; or `auto`), `centroid`, `pca`, `adapter`, `prompt`,
    `exponent`."""

    def check_size(self) -> None:
        """Raises SettingsError for too many combinations."""
        size = math.prod(len(values) for values in self.axes.values())
        if size > MAX_SETTINGS:
            axes = ", ".join(f"{len(values):,} of {axis}" for axis, values in self.axes.items() if len(values) > 1)
            raise SettingsError(
                f"A grid of {size:,} combinations ({axes}) is too large to compare, each with a tree and a list for "
                f"every feature; {MAX_SETTINGS:,} are the most; name fewer values."
            )

    def settings(self, base: ProbeSettings, default_scale: float) -> list[ProbeSettings]:
        """`base` in every combination, each once, resolved. Raises SettingsError for too many and for bad values."""
        self.check_size()
        found = list(dict.fromkeys(self._combinations(base, default_scale)))
        if not found:
            raise SettingsError("No adapter was fitted to vectors of these weights; name those that it was fitted to.")
        return found

    def _combinations(self, base: ProbeSettings, default_scale: float) -> Iterator[ProbeSettings]:
        for values in product(*self.axes.values()):
            groups: dict[str, Any] = {name: dict(part) for name, part in base}
            for axis, value in zip(self.axes, values, strict=True):
                groups[_GROUP[axis]][axis] = value
            adapter = groups["vector"]["adapter"]
            if adapter is not None and _fitted_weights(adapter) != groups["vector"]["weights"]:
                continue  # it is for vectors of other weights
            if groups["vector"]["scale"] is None and adapter is None:
                groups["vector"]["scale"] = default_scale
            yield ProbeSettings.parse(groups)


def _fitted_weights(adapter: AdapterFile) -> str:
    from probes.ghost.adapter import fitted_weights  # here, since pages name settings without torch

    return fitted_weights(adapter.path)


def axes_of(settings: Sequence[ProbeSettings]) -> dict[str, dict[str, list[ProbeSettings]]]:
    """Every axis along which the settings vary: its values by name, each with the settings that have it."""
    found: dict[str, dict[str, list[ProbeSettings]]] = {}
    for axis, group in _GROUP.items():
        values: dict[str, list[ProbeSettings]] = {}
        for setting in settings:
            values.setdefault(_value_words(getattr(getattr(setting, group), axis)), []).append(setting)
        if len(values) > 1:
            found[axis] = values
    return found


def _value_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "+".join(f"{share:g}" for share in value) or "0"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def names_of(settings: Sequence[ProbeSettings]) -> dict[ProbeSettings, str]:
    """Each of the settings in as few words as tell them apart; a single one by all that makes its vector."""
    if len(settings) == 1:
        return {settings[0]: vector_words(settings[0].vector)}
    same_vector = len({setting.vector for setting in settings}) == 1
    others = [name for name, group in _OTHERS.items() if len({getattr(getattr(s, group), name) for s in settings}) > 1]
    names = {}
    for setting in settings:
        vector = [] if same_vector else [_vector_name(setting, settings)]
        rest = [f"{name} {_value_words(getattr(getattr(setting, _OTHERS[name]), name))}" for name in others]
        names[setting] = ", ".join([*vector, *rest])
    return _distinct(names)


def _distinct(names: Mapping[ProbeSettings, str]) -> dict[ProbeSettings, str]:
    """Numbers behind names that are the same, as of settings that differ in what has no place in a name."""
    seen: Counter[str] = Counter()
    found = {}
    for setting, name in names.items():
        seen[name] += 1
        found[setting] = name if seen[name] == 1 else f"{name} ({seen[name]})"
    return found


_OTHERS = {
    "prompt": "tree",
    "cutoff": "tree",
    "top_k": "tree",
    "max_depth": "tree",
    "contrast": "tree",
    "exponent": "tokens",
    "top_n": "tokens",
}
"""Settings beside the vector's that may tell two apart, and the group of each."""


def _vector_name(setting: ProbeSettings, among: Sequence[ProbeSettings]) -> str:
    """Names the vector's making: the weights always, the rest if it varies."""
    plain = {"scale": None, "centroid": True, "pca": (), "adapter": None}
    update = {name: value for name, value in plain.items() if len({getattr(s.vector, name) for s in among}) == 1}
    return vector_words(setting.vector.model_copy(update=update))
