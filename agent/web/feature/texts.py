"""Examples shaded by a feature's activation at each token, with scorers' errors beside them.

Every text returned is safe to print.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from agent.evidence.printable import printable
from agent.evidence.shown_examples import cut, key_of
from agent.log.scores import ScoreRow
from eval.scoring.controls import top_tokens
from probes.examples import Example, Split

SHADES = 10
TOKEN_CHARS = 200
FIRES_ON = 6
_LINE_END = "↵"
_RIGHT, _WRONG = " right", " wrong"
"""What fuzzing appends to a text's key: how its tokens were marked."""


@dataclass(frozen=True)
class ShadedToken:
    """A token; `shade` is its activation in tenths of the strongest example's peak, 0 if the feature is not active."""

    text: str
    shade: int
    activation: str
    """The activation as a number; empty if the feature is not active."""


@dataclass(frozen=True)
class ExampleView:
    """An example around its peak."""

    tokens: tuple[ShadedToken, ...]
    at: int
    """Index of the peak, on which examples are aligned."""
    peak: float
    split: Split
    kind: str
    neighbour: int | None
    mistakes: tuple[str, ...]
    """Errors of scorers about it."""
    starts_before: bool
    ends_after: bool


@dataclass
class Mistakes:
    """The errors of scorers, by an example's key."""

    by_key: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def of(self, example: Example) -> tuple[str, ...]:
        """Returns the errors about this example."""
        return tuple(self.by_key.get(key_of(cut(example)), ()))


def activating(examples: Mapping[Split, Sequence[Example]], mistakes: Mistakes) -> list[ExampleView]:
    """Returns the activating examples, the strongest first."""
    found = [(e, split) for split, some in examples.items() for e in some if e.kind == "activating"]
    found.sort(key=lambda pair: -pair[0].peak)
    top = found[0][0].peak if found else 0.0
    return [_text(example, split, top, mistakes) for example, split in found]


def non_activating_mistaken(examples: Mapping[Split, Sequence[Example]], mistakes: Mistakes) -> list[ExampleView]:
    """Returns the non-activating examples about which a scorer was wrong, unshaded."""
    found = [(e, split) for split, some in examples.items() for e in some if e.kind != "activating"]
    return [_text(example, split, 0.0, mistakes) for example, split in found if mistakes.of(example)]


def shaded(tokens: Sequence[str], activations: Sequence[float]) -> tuple[ShadedToken, ...]:
    """Shades a text's tokens by its own peak."""
    top = max(activations)
    return tuple(shaded_token(token, activation, top) for token, activation in zip(tokens, activations, strict=True))


def activates_on(examples: Iterable[Example]) -> tuple[str, ...]:
    """Returns the tokens on which the feature activates most in its examples, each once."""
    texts = [example for example in examples if example.kind == "activating"]
    words = dict.fromkeys(printable(token.strip())[:TOKEN_CHARS] for token in top_tokens(texts))
    words.pop("", None)
    return tuple(words)[:FIRES_ON]


def mistakes_of(scores: Iterable[ScoreRow]) -> Mistakes:
    """Returns the examples that scorers got wrong for the run's own label."""
    found = Mistakes()
    for score in scores:
        if score.variant == "label":
            for key, words in _wrong(score.scorer, score.items):
                found.by_key[key].append(words)
    return found


def _wrong(scorer: str, items: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Yields wrong yes-or-no answers, and similarities that most examples of the other kind outrank."""
    middle = {
        truth: median(values)
        for truth in (True, False)
        if (values := [i["prediction"] for i in items if i["truth"] is truth and type(i["prediction"]) is float])
    }
    for item in items:
        truth, said, name = item["truth"], item["prediction"], str(item["key"])
        key = name.removesuffix(_RIGHT).removesuffix(_WRONG)
        if isinstance(truth, bool) and isinstance(said, bool) and truth != said:
            yield key, _verdict_words(scorer, truth, marks=key != name)
        elif isinstance(truth, bool) and type(said) is float and (not truth) in middle:
            rival = middle[not truth]
            if said < rival if truth else said > rival:
                others = "non-activating" if truth else "activating"
                yield key, f"{scorer} ranks it {'below' if truth else 'above'} most {others} texts"


def _verdict_words(scorer: str, truth: bool, marks: bool) -> str:
    if marks:
        return f"{scorer} judged {'correct marks wrong' if truth else 'wrong marks correct'}"
    return f"{scorer} {'missed it' if truth else 'took it for activating'}"


def _text(example: Example, split: Split, top: float, mistakes: Mistakes) -> ExampleView:
    excerpt = cut(example)
    pairs = zip(excerpt.tokens, excerpt.activations, strict=True)
    return ExampleView(
        tokens=tuple(shaded_token(token, activation, top) for token, activation in pairs),
        at=max(range(len(excerpt.activations)), key=excerpt.activations.__getitem__, default=0),
        peak=example.peak,
        split=split,
        kind=example.kind,
        neighbour=example.neighbour,
        mistakes=mistakes.of(example),
        starts_before=excerpt.start > example.start,
        ends_after=excerpt.start + len(excerpt.tokens) < example.start + len(example.tokens),
    )


def shaded_token(token: str, activation: float, top: float) -> ShadedToken:
    """Shades a token by its activation as a proportion of `top`."""
    short = token if len(token) <= TOKEN_CHARS else f"{token[:TOKEN_CHARS]}… ({len(token):,} characters)"
    words = _LINE_END.join(map(printable, short.split("\n")))
    if activation <= 0 or top <= 0:
        return ShadedToken(words, 0, "")
    return ShadedToken(words, max(1, min(SHADES, round(SHADES * activation / top))), f"{activation:.3g}")
