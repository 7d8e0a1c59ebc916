"""Reads each token of the vocabulary alone, behind the tokens that begin a text, up to the SAE's hook.

One short forward for each token, once for a subject, or once for several SAEs of one model, up to the deepest of their
hooks: the states lie in the user's cache, in the model's own number format, and are mapped into memory from there, so
that memory stays flat whatever the vocabulary. Tokens that stand for
no text of their own are left out: special and unused ones, rows without a token, the ghost's placeholder, and parts of
characters. So are the few whose states are far longer than others', in which models put what is always there ("massive
activations", Sun et al. 2024): every direction finds them first, a random one too.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from probes.doors.cached_json import cache_folder, file_name
from probes.errors import SubjectError
from probes.ghost.mapped_table import MappedTable, has_room, new_table, stored_table
from probes.ghost.moments import Moments
from probes.hooks.activations import cut_at_last
from probes.subject import Subject, ids_before_lone_tokens
from probes.tokenizer.placeholder import RESERVED
from probes.tokenizer.special_tokens import special_ids

OUTLIER = 2.5
"""Times the median length from which on a state is left out: of SmolLM2's tokens behind a line break four, " ", "的",
" the" and two spaces; behind the BOS alone, and of the demo, none."""
_LAYOUT = 2
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
        yield from _seen(subject, self.states)


_MADE: WeakKeyDictionary[Subject, TokenStates] = WeakKeyDictionary()


def token_states(subject: Subject, tell: Tell | None = None) -> TokenStates:
    """The subject's states, from memory, from the user's cache, or made and put there; `tell` hears of the last.

    Raises SubjectError where the states are not finite.
    """
    if subject not in _MADE:
        _MADE[subject] = _kept(subject) or _made([subject], tell)[0]
    return _MADE[subject]


def read_together(subjects: Sequence[Subject], tell: Tell | None = None) -> None:
    """Puts the states of SAEs of one model into the user's cache, those that are not there yet, from one pass.

    Each gets what a pass of its own would give it. Where there is no room for all, or they do not read the same
    tokens, nothing is done: each makes its own in its turn. Raises SubjectError where states are not finite.
    """
    lacking = [subject for subject in subjects if subject not in _MADE and _kept(subject) is None]
    if len(lacking) > 1 and len({_reads(subject) for subject in lacking}) == 1 and _have_room(lacking):
        _made(lacking, tell)


def _reads(subject: Subject) -> Hashable:
    """Returns what decides the forwards of a pass, but for how deep they go."""
    return id(subject.model), id(subject.tokenizer), subject.placeholder_id, *ids_before_lone_tokens(subject)


def _have_room(subjects: Sequence[Subject]) -> bool:
    shapes = [(one.card.vocab, one.sae.config.d_model) for one in subjects]
    return has_room(folder(), shapes, subjects[0].model.dtype)


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
        states = stored_table(states_file, subject.model.dtype)[: len(rest["ids"])]
        if states.shape != (len(rest["ids"]), len(rest["mean"])):
            return None
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return _on_device(subject, rest["ids"], states, rest["mean"], rest["covariance"])


def _made(subjects: Sequence[Subject], tell: Tell | None) -> list[TokenStates]:
    """Reads the tokens once for all; keeps each one's states if it can. They read the same tokens of one model."""
    ids = torch.tensor(readable_ids(subjects[0]))
    if not len(ids):
        raise SubjectError("The tokenizer has no token that stands for text, so none can be read alone.")
    with ExitStack() as stack:
        shapes = ((one, (len(ids), one.sae.config.d_model)) for one in subjects)
        tables = [stack.enter_context(new_table(_files(one)[0], shape, one.model.dtype)) for one, shape in shapes]
        done = 0
        for blocks in _read(subjects, ids):
            for table, block in zip(tables, blocks, strict=True):
                table.rows[done : done + len(block)] = block.cpu()
            done += len(blocks[0])
            if tell:
                tell(done, len(ids))
        return [_finished(subject, ids, table) for subject, table in zip(subjects, tables, strict=True)]


def _finished(subject: Subject, ids: Int[Tensor, " n"], table: MappedTable) -> TokenStates:
    """Puts the states in their place in the cache. Raises SubjectError where they are not finite."""
    lengths = torch.cat([block.norm(dim=-1).cpu() for block in _seen(subject, table.rows)])
    kept = ~(lengths > OUTLIER * lengths.median())  # and what is no number, which is told of below
    ids, states, moments = ids[kept], _moved_up(table.rows, kept), Moments(subject.sae.config.d_model)
    for block in _seen(subject, states):
        moments.add(block)
    mean, covariance = moments.mean.cpu(), moments.covariance.cpu()
    if not covariance.isfinite().all():
        raise SubjectError(
            f"The model's states at {subject.card.hook} are not finite for some token of its vocabulary; the "
            "weights are damaged, or its number format overflows there: try another --dtype."
        )
    if table.part is not None:
        states_file, rest_file = _files(subject)
        with suppress(OSError):
            with NamedTemporaryFile(dir=rest_file.parent, suffix=".part", delete=False) as beside:
                rest = Path(beside.name)
            save_file({"ids": ids, "mean": mean, "covariance": covariance}, rest)
            rest.replace(rest_file)  # never written in place: another process may have it mapped
            table.part.replace(states_file)
    return _on_device(subject, ids, states, mean, covariance)


def _moved_up(rows: Float[Tensor, "n d_in"], kept: Bool[Tensor, " n"]) -> Float[Tensor, "n_kept d_in"]:
    """Moves the kept rows up over the others, in place, a bounded number at a time."""
    place = 0
    for block, keep in zip(rows.split(_BLOCK), kept.split(_BLOCK), strict=True):
        some = block[keep]
        rows[place : place + len(some)] = some
        place += len(some)
    return rows[:place]


def _seen(subject: Subject, states: Float[Tensor, "n d_in"]) -> Iterator[Float[Tensor, "block d_in"]]:
    """Yields what the SAE sees of the states, a bounded number at a time; float32 on the SAE's device."""
    for block in states.split(_BLOCK):
        yield subject.sae.normalised(block.to(subject.sae.device).float())


def _on_device(subject: Subject, ids: Tensor, states: Tensor, mean: Tensor, covariance: Tensor) -> TokenStates:
    device = subject.sae.device
    return TokenStates(ids, states, mean.float().to(device), covariance.float().to(device))


@torch.inference_mode()
def _read(subjects: Sequence[Subject], ids: Int[Tensor, " n"]) -> Iterator[list[Float[Tensor, "block d_in"]]]:
    """The states of the tokens, in order, at each one's hook."""
    model, front = subjects[0].model, torch.tensor(ids_before_lone_tokens(subjects[0]), dtype=torch.long)
    with cut_at_last(model, [one.sae.config.hook for one in subjects]) as streams:
        for part in ids.split(_TOKENS[model.device.type]):
            rows = torch.cat([front.expand(len(part), -1), part[:, None]], dim=1)
            yield [states[:, -1].clone() for states in streams(rows.to(model.device))]
