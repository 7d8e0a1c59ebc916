"""What `interpret taxonomy` recommended for a subject, told before a run and, with --recommended, taken up by it.

A setting that is given in a file or on the command line stands. What a run's settings were is stored with it as always.
"""

from collections.abc import Iterator

from agent.comparisons import Recommendation
from agent.config import RunConfig
from agent.errors import LogError
from agent.runlog import RunLog
from eval.compare.grid import names_of
from probes.presets import SubjectCard

_TAKEN = {"vector": ("scale", "centroid", "pca"), "tree": ("prompt",), "tokens": ("exponent",)}
"""What is recommended, besides the weights; how far a tree is grown is a matter of time, not of truth."""


def taken_up(config: RunConfig, log: RunLog | None, card: SubjectCard) -> RunConfig:
    """The config with what is recommended in the place of what it does not give; as it is unless that is asked for.

    Raises LogError where it is asked for and there is none.
    """
    if not config.recommended:
        return config
    found = log.comparisons.recommendation(card.fingerprint) if log else None
    if found is None:
        raise LogError(
            f"{config.log} holds no recommendation for {card.name}; interpret compare and then interpret taxonomy make "
            "one, where a setting is shown to be better than the default."
        )
    return _with(config, found)


def advice(config: RunConfig, log: RunLog | None, card: SubjectCard) -> Iterator[tuple[str, str]]:
    """A line of a run's opening where there is a recommendation."""
    found = log.comparisons.recommendation(card.fingerprint) if log else None
    if found is not None:
        use = "used unless given" if config.recommended else "not used; --recommended does"
        yield "advice", f"{names_of([found.settings])[found.settings]} ({use}), by taxonomy of {found.created[:10]}"


def _with(config: RunConfig, found: Recommendation) -> RunConfig:
    parts = {}
    for group, names in _TAKEN.items():
        ours, theirs = getattr(config.probe, group), getattr(found.settings, group)
        update = {name: getattr(theirs, name) for name in names if name not in ours.model_fields_set}
        parts[group] = ours.model_copy(update=update)
    plan = (
        config.weights_plan if "weights" in config.probe.vector.model_fields_set else (found.settings.vector.weights,)
    )
    return config.model_copy(update={"probe": config.probe.model_copy(update=parts), "weights_plan": plan})
