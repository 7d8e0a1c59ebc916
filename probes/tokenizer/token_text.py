"""The text that a token stands for inside a sentence, and the word that its spellings share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a type alone: what only folds words need not wait for transformers
    from transformers import PreTrainedTokenizerBase


def folded_word(text: str) -> str:
    """A token's text whatever its case and the spaces around it; empty for one of spaces alone."""
    return text.strip().casefold()


def word_places(texts: Sequence[str]) -> list[int]:
    """The places of each word's first spelling, in their order; texts of spaces alone are no words."""
    first: dict[str, int] = {}
    for place, text in enumerate(texts):
        first.setdefault(folded_word(text), place)
    return [place for word, place in first.items() if word]


class TokenTexts:
    """Texts of single tokens, remembered.

    Some tokenizers drop the space in front of what they decode first. So a token is decoded behind another one, whose
    text is then cut off: " cat" and "cat" stay two.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, str] = {}
        self._anchor = list(tokenizer.encode("a", add_special_tokens=False))[-1:]
        self._anchor_text = self._decode(self._anchor)

    def __call__(self, token_id: int) -> str:
        """The token's text; bytes that are no whole character show as U+FFFD."""
        if token_id not in self._known:
            behind = self._decode([*self._anchor, token_id])
            cut = behind.startswith(self._anchor_text)
            self._known[token_id] = behind[len(self._anchor_text) :] if cut else self._decode([token_id])
        return self._known[token_id]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))
