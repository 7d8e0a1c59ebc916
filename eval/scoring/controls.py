"""Labels that a good label must beat: another feature's, the feature's top tokens, and one made in one shot."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from agent.evidence.shown_examples import cut, shown_example
from agent.schema import LabelText
from eval.scorers.base import Question
from probes.examples import Example
from probes.settings import Value

TOP_TOKENS = 10
"""Most tokens in a label of tokens."""
ONE_SHOT_EXAMPLES = 20
"""Most texts that a one-shot label is made from."""


class OneShotLabel(Value):
    """A label made from texts alone."""

    label: LabelText
    """At most six words."""
    explanation: str = Field(default="", max_length=2000)
    """One sentence."""


def shuffled(labels: Mapping[int, str], concepts: Mapping[int, str], seed: int) -> dict[int, int]:
    """For each feature another one whose label it gets, no label given twice.

    Never a label with the same words, and never that of a feature with the same known concept; `concepts` has those
    that are known. A feature for which there is none is left out: that takes labels or concepts that very many share.
    Features stand in a circle, ordered by a hash of theirs, and each gets the label before its own: one feature more
    changes the label of another feature or two, not of all, so that a run that is extended asks little anew.
    """
    receivers = sorted(labels, key=lambda feature: _place(seed, feature))
    donors = receivers[-1:] + receivers[:-1]

    def clash(receiver: int, donor: int) -> bool:
        same_concept = receiver in concepts and concepts[receiver] == concepts.get(donor)
        return receiver == donor or same_concept or _plain(labels[receiver]) == _plain(labels[donor])

    for here, receiver in enumerate(receivers):
        if not clash(receiver, donors[here]):
            continue
        for step in range(1, len(donors)):
            there = (here + step) % len(donors)
            if not clash(receiver, donors[there]) and not clash(receivers[there], donors[here]):
                donors[here], donors[there] = donors[there], donors[here]
                break
    pairs = zip(receivers, donors, strict=True)
    return {receiver: donor for receiver, donor in sorted(pairs) if not clash(receiver, donor)}


def top_tokens(examples: Iterable[Example]) -> list[str]:
    """The tokens with the most activation, summed over all examples, the most first."""
    sums: defaultdict[str, float] = defaultdict(float)
    for example in examples:
        for token, activation in zip(example.tokens, example.activations, strict=True):
            if activation > 0:
                sums[token] += activation
    return sorted(sums, key=lambda token: (-sums[token], token))


def top_tokens_label(tokens: Iterable[str]) -> str:
    """The first tokens without outer spaces, each once whatever its case: a label that took no thought."""
    words: dict[str, str] = {}
    for token in tokens:
        words.setdefault(_plain(token), token.strip())
    words.pop("", None)
    return ", ".join([*words.values()][:TOP_TOKENS])


def one_shot_question(feature: int, shown: Sequence[Example]) -> Question[OneShotLabel]:
    """Asks for a label from the strongest of the texts that may be shown, as delphi's default explainer does.

    After Paulo et al. 2024 (arXiv 2410.13928); the prompt is our own.
    """
    activating = [cut(example) for example in shown if example.kind == "activating"]
    strongest = sorted(activating, key=lambda example: -example.peak)[:ONE_SHOT_EXAMPLES]
    top = max((example.peak for example in strongest), default=0.0)
    texts = [shown_example(example, top) for example in strongest]
    return Question("one_shot", feature, 0, "one_shot", {"texts": texts}, OneShotLabel)


def _place(seed: int, feature: int) -> bytes:
    return hashlib.sha256(f"{seed} {feature}".encode()).digest()


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
