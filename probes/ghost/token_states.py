"""Reads each token of the vocabulary alone, behind the tokens that begin a text, up to the SAE's hook.

One short forward for each token, once for a subject: the states lie in the user's cache, in the model's own number
format, and are mapped into memory from there, so that memory stays flat whatever the vocabulary. Tokens that stand for
no text of their own are left out: special and unused ones, rows without a token, the ghost's placeholder, and parts of
characters.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from probes.doors.cached_json import cache_folder, file_name
from probes.errors import SubjectError
from probes.hooks.activations import cut_at
from probes.subject import Subject, ids_before_lone_tokens
from probes.tokenizer.placeholder import RESERVED
from probes.tokenizer.special_tokens import special_ids

_LAYOUT = 1
"""Of the files; to be raised when states come out otherwise, so that they are made anew."""
_TOKENS = {"cpu": 2048, "cuda": 16384, "mps": 4096}
"""Tokens in one forward."""
_BLOCK = 8192
"""Tokens whose states are in memory at once."""
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")

Tell = Callable[[int, int], object]
"""Hears how many tokens of how many have been read."""


@dataclass(frozen=True, eq=False)
class TokenStates:
    """The states, and the moments of what the SAE sees of them."""

    ids: Int[Tensor, " n"]
    """The tokens that were read, in rising order."""
    states: Float[Tensor, "n d_in"]
    """As the model has them at the hook, in its dtype, mapped from a file on the CPU."""
    mean: Float[Tensor, " d_in"]
    """Over the tokens, of what the SAE sees, float32, on the SAE's device."""
    covariance: Float[Tensor, "d_in d_in"]
    """Likewise."""

    def blocks(self, subject: Subject) -> Iterator[Float[Tensor, "block d_in"]]:
        """Yields the SAE's inputs of the tokens, in order, a bounded number at a time; float32 on the SAE's device."""
        for block in self.states.split(_BLOCK):
            yield subject.sae.normalised(block.to(subject.sae.device).float())


_MADE: WeakKeyDictionary[Subject, TokenStates] = WeakKeyDictionary()


def token_states(subject: Subject, tell: Tell | None = None) -> TokenStates:
    """The subject's states, from memory, from the user's cache, or made and put there; `tell` hears of the last.

    Raises SubjectError where the states are not finite.
    """
    if subject not in _MADE:
        _MADE[subject] = _kept(subject) or _made(subject, tell)
    return _MADE[subject]


def folder() -> Path:
    """Returns the folder in which the states of all subjects are kept."""
    return cache_folder("token-states")


def readable_ids(subject: Subject) -> list[int]:
    """The tokens that stand for text of their own."""
    tokens = {id: token for token, id in subject.tokenizer.get_vocab().items() if id < subject.card.vocab}
    left_out = special_ids(subject.tokenizer) | {subject.placeholder_id}
    return [
        id
        for id, token in sorted(tokens.items())
        if id not in left_out and not _BYTE.fullmatch(token) and not RESERVED.fullmatch(token) and _is_text(subject, id)
    ]


def _is_text(subject: Subject, id: int) -> bool:
    text = subject.text_of(id)
    return bool(text) and "\N{REPLACEMENT CHARACTER}" not in text


def _files(subject: Subject) -> tuple[Path, Path]:
    """Returns the file of the states, and the file of the rest."""
    hangs_on = {
        "layout": _LAYOUT,
        "subject": subject.card.model_dump(mode="json", include={"fingerprint", "dtype", "hook", "placeholder_id"}),
        "first": ids_before_lone_tokens(subject),
    }
    name = Path(file_name(hangs_on))
    return folder() / name.with_suffix(".npy"), folder() / name.with_suffix(".safetensors")


def _kept(subject: Subject) -> TokenStates | None:
    """Returns the states in the cache; None if they are absent or incomplete."""
    states_file, rest_file = _files(subject)
    try:
        rest = load_file(rest_file)
        stored = np.load(states_file, mmap_mode="c")  # copy on write, which torch asks of what it maps
        states = _as_dtype(torch.from_numpy(stored), subject.model.dtype)
        if states.shape != (len(rest["ids"]), len(rest["mean"])):
            return None
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return _on_device(subject, rest["ids"], states, rest["mean"], rest["covariance"])


def _made(subject: Subject, tell: Tell | None) -> TokenStates:
    ids = torch.tensor(readable_ids(subject))
    if not len(ids):
        raise SubjectError("The tokenizer has no token that stands for text, so none can be read alone.")
    shape = (len(ids), subject.sae.config.d_model)
    states_file, rest_file = _files(subject)
    with _room(states_file, shape, subject.model.dtype) as room:
        moments = _Moments(shape[1])
        done = 0
        for block in _read(subject, ids):
            room.states[done : done + len(block)] = block.cpu()
            moments.add(subject.sae.normalised(block.to(subject.sae.device).float()))
            done += len(block)
            if tell:
                tell(done, len(ids))
        mean, covariance = moments.mean.cpu(), moments.covariance.cpu()
        if not covariance.isfinite().all():
            raise SubjectError(
                f"The model's states at {subject.card.hook} are not finite for some token of its vocabulary; the "
                "weights are damaged, or its number format overflows there: try another --dtype."
            )
        if room.part is not None:
            with suppress(OSError):
                save_file({"ids": ids, "mean": mean, "covariance": covariance}, rest_file)
                room.part.replace(states_file)
    return _on_device(subject, ids, room.states, mean, covariance)


def _on_device(subject: Subject, ids: Tensor, states: Tensor, mean: Tensor, covariance: Tensor) -> TokenStates:
    device = subject.sae.device
    return TokenStates(ids, states, mean.float().to(device), covariance.float().to(device))


@torch.inference_mode()
def _read(subject: Subject, ids: Int[Tensor, " n"]) -> Iterator[Float[Tensor, "block d_in"]]:
    """The states of the tokens, in order."""
    front = torch.tensor(ids_before_lone_tokens(subject), dtype=torch.long)
    with cut_at(subject.model, subject.sae.config.hook) as stream:
        for part in ids.split(_TOKENS[subject.model.device.type]):
            rows = torch.cat([front.expand(len(part), -1), part[:, None]], dim=1)
            yield stream(rows.to(subject.model.device))[:, -1].clone()


class _Moments:
    """Mean and covariance of vectors that come in blocks, summed in float64 about the first block's mean."""

    def __init__(self, width: int) -> None:
        self._n = 0
        self._about: Tensor | None = None
        self._sum: Tensor = torch.zeros(width, dtype=torch.float64)
        self._products: Tensor = torch.zeros(width, width, dtype=torch.float64)

    def add(self, block: Float[Tensor, "n width"]) -> None:
        exact = (block.cpu() if block.device.type == "mps" else block).double()  # MPS has no float64
        if self._about is None:
            self._about = exact.mean(0)
            self._sum, self._products = self._sum.to(exact.device), self._products.to(exact.device)
        centred = exact - self._about
        self._n += len(block)
        self._sum += centred.sum(0)
        self._products += centred.T @ centred

    @property
    def mean(self) -> Float[Tensor, " width"]:
        assert self._about is not None
        return self._about + self._sum / self._n

    @property
    def covariance(self) -> Float[Tensor, "width width"]:
        shift = self._sum / self._n
        return self._products / self._n - torch.outer(shift, shift)


@dataclass(frozen=True, eq=False)
class _Room:
    """A table to be filled."""

    states: Float[Tensor, "n d_in"]
    part: Path | None
    """The file that it is mapped from; None for one in memory."""


@contextmanager
def _room(file: Path, shape: tuple[int, int], dtype: torch.dtype) -> Iterator[_Room]:
    """Mapped from a file beside `file`, which is gone afterwards unless renamed; in memory where none can be made."""
    part: Path | None = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        os.close(handle)
        part = Path(name)
        table: Any = np.lib.format.open_memmap(name, mode="w+", dtype=_NUMPY[dtype], shape=shape)
        room = _Room(_as_dtype(torch.from_numpy(table), dtype), part)
    except OSError:
        room = _Room(torch.empty(shape, dtype=dtype), None)
    try:
        yield room
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


_NUMPY: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.uint16}
"""How numbers lie in a file; numpy knows no bfloat16."""


def _as_dtype(stored: Tensor, dtype: torch.dtype) -> Tensor:
    return stored.view(dtype) if dtype == torch.bfloat16 else stored
