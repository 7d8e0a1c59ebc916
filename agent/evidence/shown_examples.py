"""Prepares an example for a language model: a short span around its peak, escaped, some of its tokens marked.

Texts and tokens are hostile until they are escaped here.
"""

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TypedDict

from agent.evidence.digest import escaped
from probes.examples import Example

TOKENS = 64
"""Maximum tokens of a shown example."""
TOKEN_CHARS = 100
"""Maximum characters of a token."""
ACTIVE_SHARE = 0.3
"""Tokens with more than this share of a text's peak are marked as active, as delphi does."""

OPENING, CLOSING = "«", "»"
_FORGED = str.maketrans({OPENING: "\\u00ab", CLOSING: "\\u00bb"})


class ActiveToken(TypedDict):
    text: str
    strength: int
    """Strength from 0 to 10, the strongest of all examples shown."""


class ShownExample(TypedDict):
    """An example as an explainer sees it."""

    text: str
    tokens: list[ActiveToken]
    """The marked tokens."""
    peak: ActiveToken
    place: str
    """Position of the peak in words; empty if it is nothing special."""


class ShownExamples(TypedDict):
    """The examples of one feature that an explainer sees."""

    texts: list[ShownExample]
    density: float | None
    """Proportion of tokens on which the feature activates; None if it is not known."""
    maximum: float | None
    """Its highest activation in all texts that were read; None if it is not known or never activates."""


def shown_examples(examples: Sequence[Example], most: int) -> list[ShownExample]:
    """Chooses activating examples: the strongest for one half, the rest spread evenly over the weaker ones."""
    ranked = sorted((cut(e) for e in examples if e.kind == "activating"), key=lambda example: -example.peak)
    top, weaker = ranked[: (most + 1) // 2], ranked[(most + 1) // 2 :]
    n = min(most // 2, len(weaker))
    spread = [weaker[round(place * (len(weaker) - 1) / max(n - 1, 1))] for place in range(n)]
    return [shown_example(example, ranked[0].peak) for example in (*top, *spread)]


def shown_example(example: Example, top: float) -> ShownExample:
    """Marks an example's active tokens, and gives their activations in tenths of `top`."""
    places = active_places(example)
    peak = example.activations.index(example.peak)
    return {
        "text": marked(example, places),
        "tokens": [_active(example, place, top) for place in places],
        "peak": _active(example, peak, top),
        "place": place_words(example, peak),
    }


def place_words(example: Example, place: int) -> str:
    """Describes a token's place, as far as features care: `first token of the document`, `after ","`, `inside a
    word`.
    """
    if place == 0:
        return "first token of the document" if example.start == 0 else ""
    before, token = example.tokens[place - 1], example.tokens[place]
    if before.rstrip(" \t").endswith("\n"):
        return "at the start of a line"
    sign = before.rstrip()[-1:]
    if sign and unicodedata.category(sign).startswith("P"):
        return f'after "{escaped(sign)}"'
    return "inside a word" if before[-1:].isalpha() and token[:1].isalpha() else ""


def _active(example: Example, place: int, top: float) -> ActiveToken:
    text = escaped(example.tokens[place], TOKEN_CHARS)
    return {"text": text, "strength": round(10 * example.activations[place] / top)}


def cut(example: Example) -> Example:
    """Cuts an example to at most `TOKENS` tokens, with the peak in the middle if possible."""
    peak = example.activations.index(example.peak)
    first = max(0, min(peak - TOKENS // 2, len(example.tokens) - TOKENS))
    part = slice(first, first + TOKENS)
    ids = example.token_ids
    return replace(
        example,
        tokens=example.tokens[part],
        activations=example.activations[part],
        token_ids=None if ids is None else ids[part],
        start=example.start + first,
    )


def active_places(example: Example) -> list[int]:
    """Returns the places with an activation above `ACTIVE_SHARE` of the peak; none if the feature is not active."""
    bar = ACTIVE_SHARE * max(example.peak, 0.0)
    return [place for place, activation in enumerate(example.activations) if activation > bar]


def shown(example: Example) -> str:
    """Returns an example's text, to stand between double quotes."""
    return "".join(escaped(token, TOKEN_CHARS) for token in example.tokens)


def marked(example: Example, places: Collection[int]) -> str:
    """Marks the tokens at `places` «like» «this», spaces outside; marks of the text's own become escapes."""
    tokens = [escaped(token, TOKEN_CHARS).translate(_FORGED) for token in example.tokens]
    return "".join(_mark(token) if place in places else token for place, token in enumerate(tokens))


def key_of(example: Example) -> str:
    """Returns the key of an example: its document and place."""
    return f"{example.document}:{example.start}"


def _mark(token: str) -> str:
    inner = token.lstrip(" ") or token
    return f"{token.removesuffix(inner)}{OPENING}{inner}{CLOSING}"
