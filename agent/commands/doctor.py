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
from typing import TYPE_CHECKING

import httpx2

from agent.config import RunConfig
from probes.errors import InterpretError
from probes.presets import SubjectCard

if TYPE_CHECKING:
    from probes.subject import Subject

KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")
_CONTEXT = 128
_PASSAGE = """The harbour was quiet when the first boats came back. Two men unloaded crates of fish while a woman with a
notebook counted them and wrote the numbers down. It had rained for most of the night, and the stones of the quay were
still wet. "Forty-one," she said, "that is six fewer than yesterday." Nobody answered. In the town above, the bakery
had been open since five, and the smell of bread drifted down the narrow street as far as the church. A school bus
stopped at the corner; its driver, who had worked in Norway until 2009, read the newspaper and waited for the last two
children. The article on the front page said that the government would change the tax on fuel again in spring."""
"""Ours; ordinary English for an SAE to read."""
_HUB_S = 3.0
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
        yield from _subject(config)


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
    yield Finding("hub access", _hub_access(constants.ENDPOINT, constants.HF_HUB_OFFLINE))


def _hub_access(endpoint: str, offline: bool) -> str:
    """Whether the hub answers, asked once and not for long."""
    from huggingface_hub import get_session

    if offline:
        return "offline, by HF_HUB_OFFLINE"
    try:
        get_session().head(endpoint, timeout=_HUB_S)
    except httpx2.HTTPError as error:
        return (
            f"{endpoint} does not answer ({type(error).__name__}); what is in the cache, and local folders, still load"
        )
    return f"{endpoint} answers"


def _log(path: Path) -> Finding:
    from agent.runlog import RunLog

    if not path.exists():
        return Finding("log", f"{path} does not exist yet; the first run makes it")
    try:
        with RunLog.open(path, read_only=True) as log:
            return Finding("log", f"{path}, {len(log.runs())} runs, {log.journal_note or 'write-ahead journal'}")
    except InterpretError as error:
        return Finding("log", str(error), good=False)


def _subject(config: RunConfig) -> Iterator[Finding]:
    from probes.subject import load_subject

    try:
        subject = load_subject(config.subject)
    except InterpretError as error:
        yield Finding("subject", str(error), good=False)
        return
    yield Finding("subject", subject_words(subject.card))
    try:
        yield _sae(subject)
    except InterpretError as error:
        yield Finding("SAE", str(error), good=False)


def _sae(subject: "Subject") -> Finding:
    """How the SAE reads a little English. Raises ExamplesError, with the likely cause, where it reads nothing in it."""
    from eval.collect.corpora import Document
    from eval.collect.self_check import measured, self_check
    from eval.collect.windows import Windows

    batch = next(Windows(subject, _CONTEXT, _CONTEXT).batches([Document("passage", _PASSAGE)], _CONTEXT))
    check = measured(subject, batch)
    if not check.l0 or (check.explained_variance or 0) < 0:
        self_check(subject, batch)
    explained = "-" if check.explained_variance is None else f"{check.explained_variance:.2f}"
    return Finding(
        "SAE",
        f"L0 {check.l0:,.1f} features per token, explained variance {explained}, over {check.n_tokens} tokens of "
        "English (published SAEs have .6 and more on text such as they were trained on)",
    )


def subject_words(card: SubjectCard) -> str:
    """The subject in one line."""
    return (
        f"{card.name}: {card.n_features:,} features at {card.hook}, d_model {card.d_model}, "
        f"vocabulary {card.vocab:,}, {card.dtype} on {card.device}"
    )
