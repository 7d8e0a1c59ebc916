"""How a command that is printed names a log, and what a run of it is about."""

import shlex
from pathlib import Path

from agent.log.runs import RunSummary
from probes.presets import PRESETS, SubjectSource


def log_option(path: Path) -> str:
    """Returns the option that names this log, as a shell takes it."""
    return f"--log {shlex.quote(str(path))}"


def options_about(path: Path, run: RunSummary) -> str:
    """Returns the options that name a run's subject, unless it is the one that is taken anyway, and its log."""
    name = str(run.subject["name"])
    if name == SubjectSource().name:
        return log_option(path)
    named = {"subject": name} if name in PRESETS else {key: str(run.subject[key]) for key in ("model", "sae")}
    return " ".join([*(f"--{key} {shlex.quote(value)}" for key, value in named.items()), log_option(path)])
