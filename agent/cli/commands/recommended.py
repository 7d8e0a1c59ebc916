"""Announces the recommendation of `interpret taxonomy` for a subject before a run, which takes it up on request.

Settings given in a file or on the command line have precedence. What a run's settings were is stored with it as always.
"""

from dataclasses import dataclass

from agent.config import RunConfig
from agent.errors import LogError
from agent.log.comparisons import Recommendation, recommendation_for
from agent.log.run_log import RunLog
from eval.compare.grid import names_of
from probes.presets import SubjectCard
from probes.settings import Value, VectorSettings

_PLACE = ("scale", "centroid", "pca")
_TAKEN = {"tree": ("prompt",), "tokens": ("exponent",)}
"""What is recommended, besides the vector; how far a tree is grown is a matter of time, not of truth."""


@dataclass(frozen=True)
class RecommendedConfig:
    """A run's settings, with a line about the recommendation."""

    config: RunConfig
    advice: list[tuple[str, str]]
    """A line for the opening; empty without a recommendation."""


def taken_up(config: RunConfig, log: RunLog | None, card: SubjectCard) -> RecommendedConfig:
    """Returns the config, with recommended values for settings not given if it asks for them.

    Raises LogError if a recommendation is asked for and there is none.
    """
    found = log.read(recommendation_for, card.fingerprint) if log else None
    if found is None:
        if config.recommended:
            raise _none(config, card)
        return RecommendedConfig(config, [])
    if not config.recommended:
        return _told(config, found, "not used; --recommended applies it")
    return _told(_with(config, found), found, "used where nothing else is given")


def _none(config: RunConfig, card: SubjectCard) -> LogError:
    return LogError(
        f"{config.log} holds no recommendation for {card.name}; interpret compare and then interpret taxonomy make "
        "one, where a setting is shown to be better than the default."
    )


def _told(config: RunConfig, found: Recommendation, use: str) -> RecommendedConfig:
    name = names_of([found.settings])[found.settings]
    return RecommendedConfig(config, [("advice", f"{name}, by taxonomy of {found.created[:10]} ({use})")])


def _with(config: RunConfig, found: Recommendation) -> RunConfig:
    vector = _vector(config.probe.vector, found.settings.vector)
    parts: dict[str, Value] = {"vector": vector}
    for group, names in _TAKEN.items():
        ours, theirs = getattr(config.probe, group), getattr(found.settings, group)
        update = {name: getattr(theirs, name) for name in names if name not in ours.model_fields_set}
        parts[group] = ours.model_copy(update=update)
    takes_weights = "weights" not in config.probe.vector.model_fields_set
    plan = (vector.weights,) if takes_weights else config.weights_plan
    return config.model_copy(update={"probe": config.probe.model_copy(update=parts), "weights_plan": plan})


def _vector(ours: VectorSettings, theirs: VectorSettings) -> VectorSettings:
    """Returns the recommended vector as far as nothing else is given; an adapter stands alone."""
    given = ours.model_fields_set
    if ours.adapter is not None or (theirs.adapter is not None and given & {"weights", *_PLACE}):
        return ours
    taken = {name: getattr(theirs, name) for name in ("weights", "adapter", *_PLACE) if name not in given}
    return ours.model_copy(update=taken)
