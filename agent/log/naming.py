"""How a command that is printed names a log, and the subject that it is about."""

import shlex
from pathlib import Path

from agent.log.runs import RunSummary
from probes.presets import PRESETS, SubjectSource


def log_option(path: Path) -> str:
    """Returns the option that names this log, as a shell takes it."""
    return f"--log {shlex.quote(str(path))}"


def options_about(path: Path, run: RunSummary) -> str:
    """Returns the options that name a run's subject, unless it is the one that is taken anyway, and its log."""
    subject = run.subject
    return _options(path, str(subject["name"]), str(subject["model"]), str(subject["sae"]))


def options_of(path: Path, source: SubjectSource) -> str:
    """Does the same for a subject that a command names."""
    return _options(path, source.name or "", str(source.model), str(source.sae))


def _options(path: Path, name: str, model: str, sae: str) -> str:
    if name == SubjectSource().name:
        return log_option(path)
    named = {"subject": name} if name in PRESETS else {"model": model, "sae": sae}
    return " ".join([*(f"--{key} {shlex.quote(value)}" for key, value in named.items()), log_option(path)])
