"""What this machine offers: packages, device, keys, the hub's login and cache, the log. Looks, changes nothing.

Of a key it tells whether it is set, never its value. Knows nothing of how findings are printed.
"""

import os
import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agent.config import RunConfig
from probes.errors import InterpretError
from probes.presets import SubjectCard

KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")
_PACKAGES = ("sae-interpret", "torch", "transformers", "huggingface_hub", "sqlite-utils")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str
    good: bool = True
    """False where something that was asked for will not work as it stands."""


def examine(config: RunConfig, subject_asked: bool) -> Iterator[Finding]:
    """The findings one by one, since the last ones take a while; `subject_asked` loads the subject as well."""
    yield from _versions()
    yield from _device(config)
    yield from (Finding(f"key {name}", "set" if os.environ.get(name) else "not set") for name in KEYS)
    yield from _hub()
    yield _log(config.log)
    if subject_asked:
        yield _subject(config)


def keys_seen() -> list[str]:
    """The names of the explainers' keys that the environment holds."""
    return [name for name in KEYS if os.environ.get(name)]


def _versions() -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in _PACKAGES:
        try:
            yield Finding(package, version(package))
        except PackageNotFoundError:
            yield Finding(package, "not installed", good=False)
    yield Finding("sqlite", sqlite3.sqlite_version)


def _device(config: RunConfig) -> Iterator[Finding]:
    from probes.subject import choose_device

    try:
        yield Finding("device", f"{choose_device(config.subject.device)} (asked for: {config.subject.device})")
    except InterpretError as error:
        yield Finding("device", str(error), good=False)


def _hub() -> Iterator[Finding]:
    from huggingface_hub import constants, get_token

    yield Finding("hub login", "a token is stored" if get_token() else "none (only gated models need one)")
    cache = Path(constants.HF_HUB_CACHE)
    yield Finding("hub cache", f"{cache} ({'exists' if cache.is_dir() else 'not there yet'})")
    yield Finding("hub access", "offline, by HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "online")


def _log(path: Path) -> Finding:
    from agent.runlog import RunLog

    if not path.exists():
        return Finding("log", f"{path} does not exist yet; the first run makes it")
    try:
        with RunLog.open(path, read_only=True) as log:
            return Finding("log", f"{path}, {len(log.runs())} runs, {log.journal_note or 'write-ahead journal'}")
    except InterpretError as error:
        return Finding("log", str(error), good=False)


def _subject(config: RunConfig) -> Finding:
    from probes.subject import load_subject

    try:
        return Finding("subject", subject_words(load_subject(config.subject).card))
    except InterpretError as error:
        return Finding("subject", str(error), good=False)


def subject_words(card: SubjectCard) -> str:
    """The subject in one line."""
    return (
        f"{card.name}: {card.n_features:,} features at {card.hook}, d_model {card.d_model}, "
        f"vocabulary {card.vocab:,}, {card.dtype} on {card.device}"
    )
