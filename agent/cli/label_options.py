"""Options that choose among a run's labels, for the commands that list or review them."""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from agent.cli.types import GroupedOption, Real
from agent.schema import CLASSES, Status

Function = TypeVar("Function", bound=Callable[..., Any])

STATUSES: tuple[Status, ...] = get_args(Status)
_REVIEWED = ("no", "yes", "accept", "edit", "reject", "flag", "note")
_ORDERS = ("feature", "confidence", "probability", "score")


def _option(name: str, help_text: str, kind: Any = None, **kwargs: Any) -> Callable[[Any], Any]:
    return click.option(*name.split(), type=kind, help=help_text, cls=GroupedOption, heading="Labels", **kwargs)


_OPTIONS = (
    _option("--search", "Only labels or explanations with these words.", metavar="TEXT"),
    _option("--status", "Only labels of this status.", click.Choice(STATUSES)),
    _option(
        "--reviewed", "Only labels with any verdict (yes), with none (no), or with this one.", click.Choice(_REVIEWED)
    ),
    _option("--class class_name", "Only features of this class, by interpret taxonomy.", click.Choice(CLASSES)),
    _option("--min-confidence", "Only labels of at least this confidence.", Real(), metavar="X"),
    _option("--max-confidence", "Only labels of at most this confidence.", Real(), metavar="X"),
    _option("--min-probability", "Only labels at least this likely to be right (calibrate).", Real(), metavar="X"),
    _option("--score", "Show this score; the next three are about it.", metavar="SCORER"),
    _option("--min-score", "Only labels that score at least this much.", Real(), metavar="X"),
    _option("--max-score", "Only labels that score at most this much.", Real(), metavar="X"),
    _option("--sort", "In this order.", click.Choice(_ORDERS), default="feature", show_default=True),
    _option("--descending", "The highest first.", is_flag=True),
)


def label_options(function: Function) -> Function:
    """Adds the options that become `agent.cli.commands.choosing.LabelCriteria`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
