"""What each round probes: the first by the run's settings, later ones by what the explainer asked for.

Knows no explainer and no log. An explainer's wishes are clamped where a number is out of range, refused where there is
nothing to clamp to, and refused where they were tried before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from agent.schema import SettingsChange
from probes.errors import SettingsError
from probes.evidence import ProbeRequest
from probes.settings import PROMPTS, ProbeSettings

SCALE_RANGE = (0.1, 10.0)
"""What an explainer may ask for, in multiples of the subject's default scale (the original's slider, M. Watkins)."""
EXPONENT_RANGE = (0.1, 5.0)
"""Likewise for the token list's exponent."""
PCA_COMPONENTS = 8
"""Most principal components an explainer may weigh."""


@dataclass(frozen=True)
class Plan:
    """What a round probes; when it is nothing new, `refusal` says why."""

    requests: tuple[ProbeRequest, ...] = ()
    notes: tuple[str, ...] = ()
    """What was clamped."""
    refusal: str = ""


@dataclass(frozen=True)
class Planner:
    """The settings of a run, from which each feature's rounds start. `probe` is resolved: its scale is a number."""

    probe: ProbeSettings
    weights_plan: Sequence[str]
    default_scale: float

    def first(self, feature: int) -> Plan:
        """Round 1: a tree and a list for each side, and the projection, which no setting changes."""
        requests = [*self._sides(feature, self.probe, self.weights_plan)]
        return Plan((*requests, ProbeRequest("projection", feature, self.probe)))

    def next(self, feature: int, change: SettingsChange | None, tried: Iterable[ProbeRequest]) -> Plan:
        """The round that `change` asks for: whatever of its trees and lists was not among the `tried`."""
        asked = {} if change is None else change.model_dump(exclude_none=True)
        if not asked:
            return Plan(refusal="no other settings were named")
        notes: list[str] = []
        try:
            settings = self._changed(asked, notes)
        except SettingsError as error:
            return Plan(refusal=str(error))
        weights = [asked["weights"]] if "weights" in asked else self.weights_plan
        seen = {_essence(request) for request in tried}
        new = [request for request in self._sides(feature, settings, weights) if _essence(request) not in seen]
        if not new:
            return Plan(notes=tuple(notes), refusal="these settings were tried in an earlier round")
        return Plan(tuple(new), tuple(notes))

    def _sides(self, feature: int, settings: ProbeSettings, weights: Iterable[str]) -> Iterable[ProbeRequest]:
        for side in weights:
            vector = settings.vector.model_copy(update={"weights": side})
            sided = settings.model_copy(update={"vector": vector})
            yield ProbeRequest("tree", feature, sided)
            yield ProbeRequest("tokens", feature, sided)

    def _changed(self, asked: dict[str, Any], notes: list[str]) -> ProbeSettings:
        """Round 1's settings with what was `asked`, clamped; raises SettingsError for what cannot be clamped."""
        vector, tree, tokens = (dict(part) for part in (self.probe.vector, self.probe.tree, self.probe.tokens))
        vector |= {name: asked[name] for name in ("weights", "centroid") if name in asked}
        if "scale" in asked:
            vector["scale"] = self.default_scale * _clamped("scale", asked["scale"], SCALE_RANGE, notes)
        if "pca" in asked:
            vector["pca"] = _shares(asked["pca"], notes)
        if "prompt" in asked:
            tree["prompt"] = _named_prompt(asked["prompt"])
        if "exponent" in asked:
            tokens["exponent"] = _clamped("exponent", asked["exponent"], EXPONENT_RANGE, notes)
        return ProbeSettings.parse({"vector": vector, "tree": tree, "tokens": tokens})


def _essence(request: ProbeRequest) -> tuple[object, ...]:
    """What a request's evidence hangs on: two requests of equal essence give the same evidence."""
    settings = request.settings
    rest = {"tree": settings.tree, "tokens": settings.tokens, "projection": None}[request.kind]
    return request.kind, settings.vector, rest


def _clamped(name: str, value: float, bounds: tuple[float, float], notes: list[str]) -> float:
    low, high = bounds
    inside = min(max(value, low), high)
    if inside != value:
        notes.append(f"{name} {value:g} was brought to {inside:g}")
    return inside


def _shares(weights: Sequence[float], notes: list[str]) -> tuple[float, ...]:
    """PCA weights brought to 0 or more each and to 1 at most in sum."""
    if len(weights) > PCA_COMPONENTS:
        raise SettingsError(f"{len(weights)} PCA weights are too many; give at most {PCA_COMPONENTS}.")
    shares = [max(weight, 0.0) for weight in weights]
    # A sum that rounding leaves a hair above 1 would be refused by the settings themselves.
    shares = [share / max(sum(shares) * (1 + 1e-12), 1.0) for share in shares]
    if shares != list(weights):
        notes.append("PCA weights were brought to 0 or more with a sum of at most 1")
    return tuple(shares)


def _named_prompt(prompt: str) -> str:
    if prompt not in PROMPTS:
        raise SettingsError(f"Base prompt {prompt!r} is unknown; choose by name among: {', '.join(PROMPTS)}.")
    return prompt
