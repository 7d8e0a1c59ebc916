"""Finds which of `PROMPTS` (probes/settings.py) reads ghosts best, which hangs on the model: by its own words.

Once for each model: what was found is kept in the user's cache. Only what grows trees asks for it.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from probes.doors.cached_json import cache_folder, file_name, read_json, write_json
from probes.errors import SettingsError
from probes.ghost.vectors import placed, resolved
from probes.ghost.word_reading import CHANCE, WordGhosts, definition_tokens, identified, words_of
from probes.growing.growth import Grower
from probes.settings import AUTO, PROMPTS, ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import PromptIds, prompt_ids, prompt_text

ORDINARY = "definition"
"""The one where nothing can be measured, or nothing reads better by more than chance."""
CHEAP = TreeSettings(prompt=ORDINARY, cutoff=0.04, max_depth=8, contrast=None)
"""Settings of the words' trees; a prompt after which nothing is likely gives few nodes, and so says little."""
_LAYOUT = 1
"""Version of the cached files, to be raised when figures change, so that they are measured anew."""
_NORMAL_95 = 1.96
_HALF = 0.5
"""A prompt is offered if it reads at least this proportion of what the best prompt reads above chance."""
_SAMPLE = 64
"""Numbers sampled from each weight tensor to tell one model from another."""

PromptObserver = Callable[[Sequence[str]], Iterable[str]]
"""Wraps the base prompts' names in an iterator that reports progress, as tqdm does."""


@dataclass(frozen=True)
class PromptFigure:
    """The figure of a base prompt: how well it reads a model's own words."""

    prompt: str
    shares: tuple[float, ...]
    """By word: see `probes.ghost.word_reading.identified`."""

    @property
    def value(self) -> float:
        """Their mean: 1 the best, .5 by chance."""
        return sum(self.shares) / len(self.shares)

    @property
    def interval(self) -> tuple[float, float]:
        """The mean's 95 % interval, by the normal approximation."""
        reach = _NORMAL_95 * standard_error(self.shares)
        return max(0.0, self.value - reach), min(1.0, self.value + reach)


_MEASURED: WeakKeyDictionary[Subject, tuple[PromptFigure, ...]] = WeakKeyDictionary()


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of at least two values."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def prompt_figures(subject: Subject, watch: PromptObserver = iter) -> tuple[PromptFigure, ...]:
    """The figure of every base prompt that the model can be given, measured if they are not known.

    None at all where its vocabulary has too few words. `watch` is called only where something is measured.
    """
    if subject not in _MEASURED:
        _MEASURED[subject] = _found(subject, watch)
    return _MEASURED[subject]


def own_prompt(subject: Subject) -> str:
    """The name of the base prompt that reads best, or the ordinary one if that is at most a standard error behind."""
    figures = {figure.prompt: figure for figure in prompt_figures(subject)}
    if not figures:
        return ORDINARY
    best, ordinary = max(figures.values(), key=lambda figure: figure.value), figures[ORDINARY]
    ahead = [one - other for one, other in zip(best.shares, ordinary.shares, strict=True)]
    return best.prompt if sum(ahead) / len(ahead) > standard_error(ahead) else ORDINARY


def offered_prompts(subject: Subject) -> tuple[str, ...]:
    """Base prompts worth asking for, the subject's own among them.

    They read its words better than chance, by the 95 % interval, and at least half as far above it as the best does.
    """
    figures = prompt_figures(subject)
    if not figures:
        return tuple(usable_prompts(subject))
    own, best = own_prompt(subject), max(figure.value for figure in figures)
    least = CHANCE + _HALF * (best - CHANCE)
    return tuple(
        figure.prompt
        for figure in figures
        if figure.prompt == own or (figure.interval[0] > CHANCE and figure.value >= least)
    )


def named(subject: Subject, settings: ProbeSettings) -> ProbeSettings:
    """`settings` with the subject's own base prompt where that is auto; nothing is measured where it is not."""
    if settings.tree.prompt != AUTO:
        return settings
    return settings.model_copy(update={"tree": settings.tree.model_copy(update={"prompt": own_prompt(subject)})})


def all_resolved(subject: Subject, settings: ProbeSettings) -> ProbeSettings:
    """`settings` with the subject's own scale and base prompt where they name none; what a sweep finds stays auto."""
    return named(subject, resolved(subject, settings))


def usable_prompts(subject: Subject) -> dict[str, PromptIds]:
    """The base prompts that this model can be given: chats only where its tokenizer has a template for them."""
    found = {}
    for name in PROMPTS:
        try:
            text = prompt_text(subject.tokenizer, TreeSettings(prompt=name))
        except SettingsError:
            continue
        found[name] = prompt_ids(subject.tokenizer, text, subject.card.placeholder_id)
    return found


def _found(subject: Subject, watch: PromptObserver) -> tuple[PromptFigure, ...]:
    """From the user's cache, or measured and put there."""
    words = words_of(subject)
    if words is None:
        return ()
    prompts = usable_prompts(subject)
    file = _file(subject, words, prompts)
    shares = _kept(file, prompts, len(words.token_ids))
    if shares is None:
        shares = {name: [*_shares(subject, words, prompts[name])] for name in watch([*prompts])}
        write_json(file, shares)
    return tuple(PromptFigure(name, tuple(shares[name])) for name in prompts)


def _shares(subject: Subject, words: WordGhosts, prompt: PromptIds) -> tuple[float, ...]:
    ghosts = placed(subject, words.units, VectorSettings()) * subject.input_scale
    trees = Grower(subject, prompt, CHEAP).grow(ghosts)
    definitions = [
        definition_tokens(tree, subject.text_of(word), subject.text_of)
        for tree, word in zip(trees, words.token_ids, strict=True)
    ]
    return identified(definitions, words.units, subject)


def _file(subject: Subject, words: WordGhosts, prompts: Mapping[str, PromptIds]) -> Path:
    """The file of that model, whichever SAE it was loaded with."""
    card = subject.card.model_dump(mode="json", include={"dtype", "default_scale", "placeholder_id", "per_layer"})
    hangs_on = {
        "layout": _LAYOUT,
        "weights": _weights_hash(subject),
        "card": card,
        "tree": CHEAP.model_dump(mode="json", exclude={"prompt"}),
        "words": words.token_ids,
        "prompts": {name: prompt.ids for name, prompt in prompts.items()},
    }
    return cache_folder("base-prompts") / file_name(hangs_on)


def _weights_hash(subject: Subject) -> str:
    digest = hashlib.sha256(repr(type(subject.model)).encode())
    for name, weights in subject.model.named_parameters():
        flat = weights.detach().flatten()
        sample: Tensor = flat[:: max(1, len(flat) // _SAMPLE)].to("cpu", torch.float32)
        digest.update(name.encode() + str(tuple(weights.shape)).encode() + sample.numpy().tobytes())
    return digest.hexdigest()


def _kept(file: Path, prompts: Iterable[str], n: int) -> dict[str, list[float]] | None:
    """The shares in the file by prompt; None where they are not there or not whole."""
    found: Any = read_json(file)
    if not isinstance(found, dict) or found.keys() != {*prompts}:
        return None
    whole = all(isinstance(shares, list) and len(shares) == n for shares in found.values())
    return found if whole and all(map(_is_share, (one for shares in found.values() for one in shares))) else None


def _is_share(one: object) -> bool:
    return isinstance(one, float) and 0 <= one <= 1
