"""Checks that a tokenizer is the model's own, as far as its ids can tell."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from probes.doors import door
from probes.errors import SubjectError

_SAMPLE = "The house by the river"
_MIN_SHARE = 0.5
"""Of a model's embedding rows that its tokenizer has tokens for; matrices are padded, by less than that."""


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int, folder: Path) -> None:
    """Checks that the tokenizer has tokens, that text becomes such, and that the model has an embedding for each.

    Tokens added behind the vocabulary, such as those of images, may have none. Raises SubjectError.
    """
    with door(SubjectError, f"The tokenizer in {folder} cannot be used: {{cause}}."):
        ids = set(tokenizer.get_vocab().values())
        ordinary = ids - set(tokenizer.added_tokens_decoder)
        if not ordinary or not tokenizer.encode(_SAMPLE, add_special_tokens=False):
            raise SubjectError(f"The tokenizer in {folder} has no tokens for text; copy the model's own there.")
        named = [id for id in (tokenizer.bos_token_id, tokenizer.eos_token_id) if id is not None]
        if (highest := max(*ordinary, *named)) >= rows:
            raise SubjectError(
                f"The tokenizer in {folder} has a token {highest}, but the model has {rows} embeddings; use the "
                "model's own tokenizer."
            )
        if len(ids) < rows * _MIN_SHARE:
            raise SubjectError(
                f"The tokenizer in {folder} has {len(ids)} tokens, but the model {rows} embeddings; use the model's "
                "own tokenizer."
            )
