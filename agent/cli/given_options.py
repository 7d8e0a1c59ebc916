"""Looks at the options that were given to a command: refuses those that would do nothing, and names them by key."""

from collections.abc import Collection
from typing import Any

import click
from click.core import ParameterSource

from agent.config import RunConfig


def refuse(names: Collection[str], why: str) -> None:
    """Raises UsageError if one of these parameters was given to the command: it would do nothing."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} {why}")


def refuse_all_but(names: Collection[str], why: str) -> None:
    """Does the same with all parameters of the command but these, `--settings` and `--log`."""
    kept = {*names, "settings_file", "log"}
    refuse({parameter.name or "" for parameter in click.get_current_context().command.params} - kept, why)


def batched(config: RunConfig) -> RunConfig:
    """Returns the config. Raises UsageError where an option is about batches and there are none."""
    if not config.batch:
        refuse(("batch_size", "wait"), "is about --batch; add that, or leave this out.")
    return config


def by_key(options: dict[str, Any]) -> dict[str, Any]:
    """Returns click's keyword arguments by the keys of a settings file."""
    return {name.replace("_", "-"): value for name, value in options.items()}
