"""A base prompt as token ids with a place for the ghost. Knows no model."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from probes.settings import GHOST


@dataclass(frozen=True)
class PromptIds:
    """Token ids of a prompt; at `ghost_position` stands the placeholder."""

    ids: tuple[int, ...]
    ghost_position: int

    @property
    def before(self) -> tuple[int, ...]:
        """What every ghost's prompt starts with."""
        return self.ids[: self.ghost_position]

    @property
    def rest(self) -> tuple[int, ...]:
        """The placeholder and what follows it."""
        return self.ids[self.ghost_position :]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, text: str, placeholder_id: int) -> PromptIds:
    """The ids of `text`, which has one `{ghost}`: its two sides tokenised separately, special tokens once, in front."""
    before, after = (_plain(tokenizer, side) for side in text.split(GHOST))
    start = [*_leading(tokenizer), *before]
    return PromptIds(ids=(*start, placeholder_id, *after), ghost_position=len(start))


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False)) if text else []


def _leading(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that the tokenizer puts in front of a text, usually BOS or none; those behind are left out."""
    sample = "a"
    plain, full = _plain(tokenizer, sample), list(tokenizer.encode(sample))
    starts = (at for at in range(len(full)) if full[at : at + len(plain)] == plain)
    return full[: next(starts, 0)]
