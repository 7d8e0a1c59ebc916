"""Says in a word or two how far evidence differs from what random directions give, with the sentence behind it.

Pages show the words as a badge and the sentence on hover; terminals show the words with the p-value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from probes.evidence import Contrast, TokenList, Verdict, verdict_of

Tone = Literal["good", "warm", "bad"]


@dataclass(frozen=True)
class Badge:
    """A verdict on a tree or a list, beside those of random directions."""

    words: str
    tone: Tone
    p_value: float
    sentence: str

    @property
    def brief(self) -> str:
        """The verdict in one line of plain text."""
        return f"{self.words} from random directions (p {self.p_value:.2g})"


def tree_badge(contrast: Contrast) -> Badge:
    """Returns the badge of a tree that was compared with random directions' trees."""
    distance = f"{contrast.divergence:.2f} nats from the mean of random directions' trees"
    if contrast.n_candidates > 1:
        beside = (
            f"the best of {contrast.n_candidates} vectors; {contrast.n_as_far} of {contrast.n_random} random features "
            "do as well with their own best"
        )
    else:
        beside = f"{contrast.n_as_far} of {contrast.n_random} other random directions are as far from it"
    return _badge(contrast.p_value, f"{distance}, {beside}")


def list_badge(listed: TokenList) -> Badge | None:
    """Returns the badge of a vocabulary list; None for a list that is compared with nothing."""
    if not listed.tokens or listed.p_value is None:
        return None
    as_far = round(listed.p_value * (1 + listed.n_random)) - 1
    return _badge(listed.p_value, f"{as_far} of {listed.n_random} random directions have lists as extreme")


_BADGES: Mapping[Verdict, tuple[str, Tone]] = {
    "differs": ("differs", "good"),
    "hardly differs": ("hardly differs", "warm"),
    "no different": ("does not differ", "bad"),
}


def _badge(p_value: float, told: str) -> Badge:
    words, tone = _BADGES[verdict_of(p_value)]
    sentence = f"{words} from random directions: {told} (p {p_value:.2g})."
    return Badge(words, tone, p_value, sentence[0].upper() + sentence[1:])
