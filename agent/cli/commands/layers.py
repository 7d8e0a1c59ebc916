"""Several SAEs of one model in one command: how they are named, where each reads, the budget that they share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.given_options import by_key
from agent.config import RunConfig, read_settings, resolve, settings_in_use
from probes.doors.given import shown
from probes.errors import FeatureError, SettingsError, SubjectError
from probes.features import parse_features

if TYPE_CHECKING:  # a type alone: `--help` would wait for SQL
    from agent.log.run_log import RunLog

LAYER = "{layer}"
"""Stands in the place of an SAE where the number of its layer does."""
_MOST_LAYERS = 1000


@dataclass(frozen=True)
class LayerConfig:
    """The settings of one SAE's run, and what they are for."""

    config: RunConfig
    n_features: int
    sites: str
    """Where it reads, and writes where that is elsewhere."""


def configs_of(options: Mapping[str, Any], settings_file: Path | None, layers: str | None = None) -> list[RunConfig]:
    """Makes a config for each SAE; `options` have any number of them, each for all of `layers` where it says so.

    Raises SettingsError, and UsageError where `layers` and SAEs do not fit.
    """
    places = options["sae"] or _in_file(settings_file)
    saes: list[str | None] = [sae for place in places for sae in _expanded(place, layers)]
    if layers is not None and not any(LAYER in place for place in places):
        raise click.UsageError(
            f"--layers says which SAEs of a release are meant; say where their layer stands in their names, as in "
            f"--sae REPO:layer_{LAYER}.safetensors."
        )
    return [resolve(by_key({**options, "sae": sae}), settings_file) for sae in saes or [None]]


def _in_file(settings_file: Path | None) -> list[str]:
    """Returns the SAE of the settings file if that names one."""
    file = settings_in_use(settings_file)
    found = read_settings(file).get("sae") if file else None
    return [found] if isinstance(found, str) else []


def _expanded(place: str, layers: str | None) -> list[str]:
    if LAYER not in place:
        return [place]
    if layers is None:
        raise click.UsageError(f"{shown(place)} is one SAE of each layer; say of which ones, as --layers 0-25.")
    try:
        numbers = parse_features(layers, _MOST_LAYERS)
    except FeatureError:
        raise SettingsError(f"--layers {shown(layers)} are no layers; write them as 0-25 or 3,8,12.") from None
    return [place.replace(LAYER, str(number)) for number in numbers]


def by_layer(configs: Sequence[RunConfig]) -> dict[int, LayerConfig]:
    """Returns each config by the layer at which its SAE reads. Raises SubjectError where two read at one layer."""
    from probes.subject import read_sae_config

    found: dict[int, LayerConfig] = {}
    for config in configs:
        sae = read_sae_config(config.subject)
        if sae.hook.layer in found:
            raise SubjectError(
                f"Two SAEs are given for layer {sae.hook.layer}, and features are identified by their layers; leave "
                f"one of them out: {found[sae.hook.layer].config.subject.sae} or {config.subject.sae}."
            )
        found[sae.hook.layer] = LayerConfig(config, sae.n_features, sae.sites)
    return dict(sorted(found.items()))


def with_what_is_left(config: RunConfig, log: "RunLog", others: Iterable[tuple[int, int | None]]) -> RunConfig:
    """Returns the config with what others of its command have left of the budget that they share.

    `others` are runs with None, or with one of their scorings.
    """
    if config.budget_tokens is config.budget_usd is None:
        return config
    from agent.log.calls import spent_by  # here, since `--help` would wait for SQL

    spent = [log.read(spent_by, run_id, scoring_id) for run_id, scoring_id in others]
    left = {
        "budget_tokens": (config.budget_tokens, sum(one.most_tokens for one in spent)),
        "budget_usd": (config.budget_usd, sum(one.most_usd for one in spent)),
    }
    return config.model_copy(
        update={name: None if asked is None else max(asked - used, 0) for name, (asked, used) in left.items()}
    )
