"""Plans the probes of each round: the first by the run's settings, later ones by the explainer's request.

An explainer's wishes are clamped where a number is out of range, refused where there is
nothing to clamp to, and refused where they were tried before.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent.schema import SettingsChange
from probes.errors import SettingsError
from probes.essence import essence_of
from probes.evidence import ProbeRequest
from probes.settings import AUTO, PLAIN_PROMPTS, ProbeSettings, SteeringSettings

SCALE_RANGE = (0.1, 10.0)
"""What an explainer may ask for, in multiples of the subject's default scale (the original's slider, M. Watkins)."""
EXPONENT_RANGE = (0.1, 5.0)
"""Likewise for the token list's exponent."""
PCA_COMPONENTS = 8
"""Most principal components an explainer may weigh."""
CLAMP_RANGE = (0.0, 8.0)
"""Likewise for what a feature is clamped at, in multiples of its maximum activation."""


@dataclass(frozen=True)
class RoundPlan:
    """The probes of a round; if they are nothing new, `refusal` says why."""

    requests: tuple[ProbeRequest, ...] = ()
    notes: tuple[str, ...] = ()
    """Remarks on values that were clamped."""
    refusal: str = ""


class FeatureMaxima(Protocol):
    """The source of features' maximum activations."""

    def of(self, feature: int) -> float | None:
        """Returns the feature's maximum activation; None if it is not known."""
        ...


@dataclass(frozen=True)
class Planner:
    """Plans the rounds of all features of a run. In `probe` scale and base prompt are resolved."""

    probe: ProbeSettings
    weights_plan: Sequence[str]
    default_scale: float
    maxima: FeatureMaxima | None = None
    """None leaves only a maximum that the settings give."""
    agreement: bool = False
    """True to measure the agreement of base prompts even if no setting is to be found."""
    offered_prompts: Sequence[str] = PLAIN_PROMPTS
    """Base prompts that an explainer may ask for, by name."""
    tests: bool = False
    """True if an explainer may experiment: run texts of its own, compare neighbours, clamp the feature."""
    candidates: int = 1
    """Maximum number of labels that an answer may propose with texts to choose among them."""

    @property
    def clamps(self) -> bool:
        """Tests if a clamp can be granted: it needs a maximum as its unit."""
        return self.maxima is not None or self.probe.steering.maximum is not None

    @property
    def sweeps(self) -> bool:
        """Tests if evidence may hold a sweep."""
        return self.agreement or self.probe.vector.is_auto or AUTO in self.weights_plan

    def first(self, feature: int) -> RoundPlan:
        """Plans round 1: a tree and a list for each side, after a sweep if needed; the projection."""
        settings = self._measured(feature, self.probe)
        requests = _new(self._sides(feature, settings, self.weights_plan), ())
        return RoundPlan((*requests, ProbeRequest("projection", feature, self.probe)))

    def next(self, feature: int, change: SettingsChange | None, tried: Iterable[ProbeRequest]) -> RoundPlan:
        """Plans the round that `change` asks for, without trees and lists among the `tried`."""
        asked = {} if change is None else change.model_dump(exclude_none=True)
        if not asked:
            return RoundPlan(refusal="no other settings were named")
        notes: list[str] = []
        try:
            settings = self._measured(feature, self._changed(asked, notes))
        except SettingsError as error:
            return RoundPlan(refusal=str(error))
        weights = [asked["weights"]] if "weights" in asked else self.weights_plan
        new = _new(self._sides(feature, settings, weights), tried)
        if not new:
            return RoundPlan(notes=tuple(notes), refusal="these settings were tried in an earlier round")
        return RoundPlan(tuple(new), tuple(notes))

    def maximum_of(self, feature: int) -> float | None:
        """Returns the feature's highest activation in examples; None if it is not known."""
        return None if self.maxima is None else self.maxima.of(feature)

    def _sides(self, feature: int, settings: ProbeSettings, weights: Iterable[str]) -> Iterable[ProbeRequest]:
        for side in weights:
            vector = settings.vector.model_copy(update={"weights": side})
            sided = settings.model_copy(update={"vector": vector})
            if vector.is_auto or self.agreement:
                yield ProbeRequest("sweep", feature, sided)
            yield ProbeRequest("tree", feature, sided)
            yield ProbeRequest("tokens", feature, sided)

    def _measured(self, feature: int, settings: ProbeSettings) -> ProbeSettings:
        """Returns the settings with the feature's own maximum for steering. Raises SettingsError if it is not known."""
        steering = settings.steering
        if not steering.on or steering.maximum is not None:
            return settings
        maximum = self.maximum_of(feature)
        if maximum is None:
            raise steering.unknown(feature)
        return settings.model_copy(update={"steering": steering.model_copy(update={"maximum": maximum})})

    def _changed(self, asked: dict[str, Any], notes: list[str]) -> ProbeSettings:
        """Returns round 1's settings with the `asked` ones, clamped. Raises SettingsError for those that cannot be."""
        vector, tree, tokens = (dict(part) for part in (self.probe.vector, self.probe.tree, self.probe.tokens))
        if vector["adapter"] is not None and asked.get("weights", vector["weights"]) != vector["weights"]:
            raise SettingsError(f"The run's adapter is for {vector['weights']} weights alone.")
        vector |= {name: asked[name] for name in ("weights", "centroid") if name in asked}
        if "scale" in asked:
            scale = clamped("scale", asked["scale"], SCALE_RANGE, notes)
            vector["scale"] = self.default_scale * _rounded("scale", scale, notes)
        if "pca" in asked:
            vector["pca"] = _shares(asked["pca"], notes)
        if "prompt" in asked:
            tree["prompt"] = self._named_prompt(asked["prompt"])
        if "exponent" in asked:
            tokens["exponent"] = clamped("exponent", asked["exponent"], EXPONENT_RANGE, notes)
        steering = _clamping(self.probe.steering, asked, notes)
        return ProbeSettings.parse({"vector": vector, "tree": tree, "tokens": tokens, "steering": steering})

    def _named_prompt(self, prompt: str) -> str:
        if prompt not in self.offered_prompts:
            names = ", ".join(self.offered_prompts)
            raise SettingsError(f"Base prompt {prompt!r} is not offered; choose by name among: {names}.")
        return prompt


def _new(requests: Iterable[ProbeRequest], tried: Iterable[ProbeRequest]) -> list[ProbeRequest]:
    """Returns the requests whose evidence is not that of one that was `tried`, each once."""
    seen = {essence_of(request.kind, request.settings) for request in tried}
    new: dict[str, ProbeRequest] = {}
    for request in requests:
        new.setdefault(essence_of(request.kind, request.settings), request)
    return [request for essence, request in new.items() if essence not in seen]


def clamped(name: str, value: float, bounds: tuple[float, float], notes: list[str]) -> float:
    """Clamps a value to its bounds, with a note if it was outside."""
    low, high = bounds
    inside = min(max(value, low), high)
    if inside != value:
        notes.append(f"{name} {value:g} was brought to {inside:g}")
    return inside


def _rounded(name: str, value: float, notes: list[str]) -> float:
    """Rounds a value to two digits, with a note: each scale has a null distribution of its own, dearer than a tree."""
    short = float(f"{value:.2g}")
    if short != value:
        notes.append(f"{name} {value:g} was rounded to {short:g}")
    return short


def _clamping(steering: SteeringSettings, asked: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Returns the run's own steering, or the clamp that was `asked` for."""
    settings = dict(steering) if steering.on else {}
    if "clamp" in asked:
        settings |= {"mode": "clamp", "strength": clamped("clamp", asked["clamp"], CLAMP_RANGE, notes)}
    if "clamp_at" in asked:
        settings |= {"mode": "clamp", "at": asked["clamp_at"]}
    return settings


def _shares(weights: Sequence[float], notes: list[str]) -> tuple[float, ...]:
    """Returns PCA weights clamped to at least 0 each and at most 1 in sum."""
    if len(weights) > PCA_COMPONENTS:
        raise SettingsError(f"{len(weights)} PCA weights are too many; give at most {PCA_COMPONENTS}.")
    shares = [max(weight, 0.0) for weight in weights]
    # A sum that rounding leaves a hair above 1 would be refused by the settings themselves.
    shares = [share / max(sum(shares) * (1 + 1e-12), 1.0) for share in shares]
    if shares != list(weights):
        notes.append("PCA weights were brought to 0 or more with a sum of at most 1")
    return tuple(shares)
