"""Tokens that stand for no text, and those that stand first of texts."""

from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from probes.ghost.prompt import leading_ids

if TYPE_CHECKING:  # what a subject's texts begin with is known before it is loaded
    from probes.subject import Subject


def start_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that begins a text, whether or not the tokenizer puts it there by itself; None where there is none.

    A tokenizer without a BOS takes its end-of-text token for it, as TransformerLens does, on which SAELens trains.
    """
    bos: int | None = tokenizer.bos_token_id
    return bos if bos is not None else tokenizer.eos_token_id


def front_ids(tokenizer: PreTrainedTokenizerBase, prepends_bos: bool | None) -> list[int]:
    """What stands in front of a text: `start_id` or nothing, or where None what the tokenizer itself puts there."""
    if prepends_bos is None:
        return leading_ids(tokenizer)
    start = start_id(tokenizer) if prepends_bos else None
    return [] if start is None else [start]


def first_ids(subject: "Subject") -> list[int]:
    """What stands in front of every text that the SAE reads.

    As the user says, else the SAE's files; where neither does, what the tokenizer itself puts there, which is what
    those who train SAEs get without asking for it.
    """
    return front_ids(subject.tokenizer, subject.sae.config.prepends_bos)


def ids_before_lone_tokens(subject: "Subject") -> list[int]:
    """What stands in front of a token that is read alone: `start_id`, and nothing where the user wants no BOS.

    A model's first position is unlike all others, so something is to stand there even where texts begin with nothing.
    """
    return front_ids(subject.tokenizer, subject.card.bos is not False)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that stand for no text: BOS, EOS, padding, turns of a chat, and what else the tokenizer calls special."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset({*tokenizer.all_special_ids, *added})
