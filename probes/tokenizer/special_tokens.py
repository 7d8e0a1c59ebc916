"""Tokens that stand for no text, and those that stand first of texts."""

from transformers import PreTrainedTokenizerBase

from probes.tokenizer.prompt import leading_ids


def start_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that begins a text, whether or not the tokenizer puts it there by itself; None where there is none.

    A tokenizer without a BOS takes its end-of-text token for it, as TransformerLens does, on which SAELens trains.
    """
    bos: int | None = tokenizer.bos_token_id
    return bos if bos is not None else tokenizer.eos_token_id


def front_ids(tokenizer: PreTrainedTokenizerBase, prepends_bos: bool | None) -> list[int]:
    """Returns the ids that begin a text: `start_id` or none, or if that is None what the tokenizer itself puts
    there.
    """
    if prepends_bos is None:
        return leading_ids(tokenizer)
    start = start_id(tokenizer) if prepends_bos else None
    return [] if start is None else [start]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that stand for no text: BOS, EOS, padding, turns of a chat, and what else the tokenizer calls special."""
    added = (i for i, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset({*tokenizer.all_special_ids, *added})
