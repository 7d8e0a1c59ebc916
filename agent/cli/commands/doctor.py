"""Examines this machine: packages, device, keys, the hub's login and cache, the log. Changes nothing.

Of a key it tells only that it is set, never its value.
"""

import os
import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import RunConfig
from agent.log.runs import all_runs
from probes.errors import InterpretError
from probes.presets import PerLayer, SubjectCard

if TYPE_CHECKING:
    from probes.subject import Subject

KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY")
"""Of which one of Anthropic's is enough."""
_CONTEXT = 128
_PER_LAYER: tuple[int | PerLayer, ...] = ("placeholder", "zeros", 0)
"""Settings of `--per-layer` to compare; 0 is the padding token, which these models look up for images."""
_DEMO_TEXTS = 40
"""Number of texts of the demo's world that it is checked on, since its model reads no English."""
_BATCH = 4096
_HUB_S = 3.0
_PACKAGES = ("sae-interpret", "torch", "transformers", "huggingface_hub", "sqlite-utils")


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    text: str
    good: bool = True
    """False if something that was asked for will not work as it stands."""


def examine(config: RunConfig, subject_asked: bool) -> Iterator[Finding]:
    """Yields the findings one by one, since the last ones take a while; `subject_asked` loads the subject as well."""
    yield from _versions()
    yield from _device(config)
    yield from (Finding(f"key {name}", "set" if os.environ.get(name) else "not set") for name in KEYS)
    yield from _hub()
    yield _smollm2(asked=config.subject.name == "smollm2")
    yield _minilm(asked=config.score.embedder == "minilm")
    yield _log(config.log)
    if subject_asked:
        yield from _subject(config)


def keys_seen() -> list[str]:
    """Returns the names of the explainers' keys that the environment holds."""
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
    """Asks the hub once, briefly, and tells whether it answers."""
    import httpx2
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


def _smollm2(asked: bool) -> Finding:
    """Reports the parts of the subject `smollm2`, which come from several packages."""
    from probes.model import gguf_models
    from probes.model.folder import path_in_package
    from probes.presets import PRESETS

    topic, preset = "smollm2", PRESETS["smollm2"]
    try:
        file = path_in_package(preset.model)
        gguf_models.check_packages("Its model is a GGUF file")
    except InterpretError as error:
        return Finding(topic, str(error), good=not asked)
    if not Path(preset.sae).is_dir():
        return Finding(topic, f"its SAE is missing from this installation: {preset.sae}", good=not asked)
    folder = gguf_models.folder_for(file)
    made = gguf_models.is_made(folder)
    return Finding(topic, f"there, dequantised in {folder}" if made else f"there, not dequantised yet: {folder}")


def _minilm(asked: bool) -> Finding:
    from eval.embedders import MINILM, folder_or_name

    topic = "minilm"
    try:
        folder = folder_or_name(MINILM)
    except InterpretError as error:
        return Finding(topic, str(error), good=not asked)
    if find_spec("sentence_transformers") is None:
        return Finding(topic, "needs sentence-transformers; pip install sentence-transformers", good=not asked)
    return Finding(topic, f"there, {folder}")


def _log(path: Path) -> Finding:
    from agent.log.run_log import RunLog

    if not path.exists():
        return Finding("log", f"{path} does not exist yet; the first run makes it")
    try:
        with RunLog.open(path, read_only=True) as log:
            return Finding(
                "log", f"{path}, {len(log.read(all_runs))} runs, {log.journal_note or 'write-ahead journal'}"
            )
    except InterpretError as error:
        return Finding("log", str(error), good=False)


def _subject(config: RunConfig) -> Iterator[Finding]:
    from agent.cli.commands.base_prompt import table_words
    from probes.subject import load_subject

    try:
        subject = load_subject(config.subject)
    except InterpretError as error:
        yield Finding("subject", str(error), good=False)
        return
    yield Finding("subject", subject_words(subject.card))
    yield Finding("first token", _first_token(subject))
    if subject.card.per_layer is not None:
        yield Finding("second table", _second_table(subject))
    try:
        yield Finding("SAE", _sae(subject))
    except InterpretError as error:
        yield Finding("SAE", str(error), good=False)
    yield Finding("base prompt", table_words(subject))


def _first_token(subject: "Subject") -> str:
    """Describes the ids that begin the SAE's texts and base prompts: models differ, and so do SAEs of one model."""
    from probes.subject import first_ids, ids_before_lone_tokens
    from probes.tokenizer.prompt import leading_ids

    def words(ids: list[int]) -> str:
        return " ".join(subject.tokenizer.convert_ids_to_tokens(ids)) or "nothing"

    texts, alone = first_ids(subject), ids_before_lone_tokens(subject)
    told = f"texts begin with {words(texts)}, base prompts with {words(leading_ids(subject.tokenizer))}"
    return told if texts == alone != [] else f"{told}; a token read alone is preceded by {words(alone)}"


def _second_table(subject: "Subject") -> str:
    """Describes the effect of a model's second embedding table on ghosts."""
    from probes.ghost.per_layer import N_FEATURES, per_layer_effects

    now = subject.card.per_layer
    choices = dict.fromkeys([*_PER_LAYER, *([now] if isinstance(now, int) else [])])
    effects = per_layer_effects(subject, [*choices])
    told = ", ".join(f"{_row(choice)} {nats:.2g}" for choice, nats in effects.items())
    return (
        f"a ghost uses {_row(now)} there (--per-layer); mean divergence of the next token's probabilities from those "
        f"after the placeholder's row, over {N_FEATURES} features, in nats: {told}"
    )


def _row(choice: int | str | None) -> str:
    return {"placeholder": "the placeholder's row", "zeros": "zeros"}.get(str(choice), f"token {choice}'s row")


def _sae(subject: "Subject") -> str:
    """Lets the SAE read a little text. Raises ExamplesError, with the likely cause, if it does not fit."""
    from eval.collect.corpora import CorpusFaults, Document, documents
    from eval.collect.self_check import self_check
    from eval.collect.windows import WindowCutter
    from probes.hooks.sae_input import PASSAGE

    is_demo = subject.card.name == "demo"
    texts = islice(documents("demo", CorpusFaults()), _DEMO_TEXTS) if is_demo else [Document("passage", PASSAGE)]
    check = self_check(subject, next(WindowCutter(subject, _CONTEXT, _BATCH).batches(texts, _BATCH)))
    explained = "-" if check.explained_variance is None else f"{check.explained_variance:.2f}"
    figures = (
        f"L0 {check.l0:,.1f} features per token, explained variance {explained}, over {check.n_tokens:,} tokens of"
    )
    if is_demo:
        return f"{figures} the demo's text"
    return f"{figures} English (published SAEs reach .6 or more on text like their training data)"


def subject_words(card: SubjectCard) -> str:
    """Describes the subject in one line."""
    scaled = f", SAE input times {card.sae_input_scale:g}" if card.sae_input_scale != 1 else ""
    begins = {None: "", True: ", a BOS in front", False: ", no BOS in front"}[card.bos]
    return (
        f"{card.name}: {card.n_features:,} features at {card.hook}, d_model {card.d_model}, "
        f"vocabulary {card.vocab:,}, {card.dtype} on {card.device}{scaled}{begins}"
    )
