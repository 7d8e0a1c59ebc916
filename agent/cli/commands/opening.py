"""Checks and announces a subject before PyTorch is imported, which takes seconds."""

import sys
from collections.abc import Sequence

import click

from agent.cli.terminal.announcing import announced
from agent.config import RunConfig, settings_in_use
from probes.errors import SettingsError
from probes.features import check_features
from probes.presets import SubjectSource


def begin(
    configs: Sequence[RunConfig],
    features: str | None = None,
    writes_log: bool = False,
    asks_explainer: bool = False,
    apart: bool = False,
) -> None:
    """Announces settings file and subjects. Raises InterpretError if the command cannot be done as it stands.

    That is said `apart` from what is printed where that is evidence, which programs read too: on the terminal alone.
    """
    from agent.llm import make_explainer  # here, since `--help` would wait for it, as for SQL
    from agent.log.opening import check_writable

    if features is not None:
        check_features(features)
    for config in configs:
        if writes_log:
            check_writable(config.log)
        if asks_explainer and (config.base_url is None or ":" in config.llm):  # else its server is asked for models
            make_explainer(
                config.llm, config.base_url or "", config.answer_tokens, config.effort, config.timeout, config.batch
            )
    if not apart or sys.stderr.isatty():
        if (file := settings_in_use(click.get_current_context().params["settings_file"])) is not None:
            click.echo(announced("settings", str(file)), err=apart)
        names = dict.fromkeys(_name(config.subject) for config in configs)
        click.echo(announced("loading", ", ".join(names)), err=apart)


def check_escalation(config: RunConfig) -> None:
    """Raises SettingsError or ExplainerError where features are to be escalated and cannot be."""
    from agent.llm import make_explainer  # here, as above

    if config.escalate is None:
        return
    if config.batch:
        raise SettingsError("--escalate asks about one feature after the other, not in batches; leave out --batch.")
    if "none" in (config.escalate, config.llm):
        raise SettingsError("--escalate goes from one explainer to a stronger one, and none is no explainer.")
    make_explainer(config.escalate, "", config.answer_tokens, config.effort, config.timeout)


def _name(source: SubjectSource) -> str:
    return source.name or f"{source.model} + {source.sae}"
