"""Tokens that stand for no text, and the one that stands first of texts."""

from transformers import PreTrainedTokenizerBase

from probes.subject import Subject


def start_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that begins a text, whether or not the tokenizer puts it there by itself; None where there is none.

    A tokenizer without a BOS takes its end-of-text token for it, as TransformerLens does, on which SAELens trains.
    """
    bos: int | None = tokenizer.bos_token_id
    return bos if bos is not None else tokenizer.eos_token_id


def first_ids(subject: Subject) -> list[int]:
    """What stands in front of every text that the SAE reads: `start_id`, where it was trained with one."""
    start = start_id(subject.tokenizer)
    return [start] if subject.sae.config.prepends_bos and start is not None else []


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that stand for no text: BOS, EOS, padding, turns of a chat, and what else the tokenizer calls special."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset({*tokenizer.all_special_ids, *added})
