"""Texts with a feature's activation at each token, and how often it activates: values only, no torch and no SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

ExampleKind = Literal["activating", "random", "similar", "neighbour"]
"""`activating`: the feature activates somewhere in it. The others are texts where it does not: `random` ones, ones
`similar` to activating texts, and ones on which a `neighbour` (a feature of similar decoder direction) activates."""

Split = Literal["shown", "held_out"]
"""Whether an explainer may see it, or scorers measure on it; never both."""


@dataclass(frozen=True)
class Example:
    """A stretch of text with the activations of one feature."""

    feature: int
    kind: ExampleKind
    document: str
    """Which text of its source; what is cut from one document goes into one split."""
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    """One for each token, 0 where nothing activates: of `feature`, or of `neighbour` where there is one."""
    token_ids: tuple[int, ...] | None = None
    """None where the source gives texts only."""
    start: int = 0
    """Place of the first token in its document."""
    neighbour: int | None = None
    """The feature of similar direction that activates on it while `feature` does not; None for all other kinds."""
    quantile: int | None = None
    """Stratum of an activating example: 0 is the highest tenth of the feature's range, 9 the lowest; None where the
    source does not say."""

    @property
    def text(self) -> str:
        """The tokens joined."""
        return "".join(self.tokens)

    @property
    def peak(self) -> float:
        """The highest activation."""
        return max(self.activations)


@dataclass(frozen=True)
class Activity:
    """A feature's activity over a whole corpus."""

    feature: int
    n_tokens: int
    """Tokens looked at, special tokens left out."""
    n_active: int
    """Of these, how many it activated on."""
    maximum: float
    """Highest activation seen; 0 where it never activated."""
    edges: tuple[float, ...]
    """Bounds of the histogram's bins, ascending, one more than `counts`."""
    counts: tuple[int, ...]
    """Active tokens by activation."""

    @property
    def frequency(self) -> float:
        """Share of tokens it activates on."""
        return self.n_active / self.n_tokens


class BaselineScore(TypedDict):
    """A score that a source gives a label of its own, on texts of its own."""

    scorer: str
    """By our name where it is one of ours, else by the source's."""
    metric: str
    """Empty where the source does not say."""
    value: float
    n: int
    """Texts that it rests on; 0 where the source does not say."""


@dataclass(frozen=True)
class Baseline:
    """A label that someone else gave the feature, to be compared with ours."""

    feature: int
    text: str
    author: str
    """Which method and model, by the source's own account."""
    scores: Sequence[BaselineScore] = ()
    """Its scores, by the source's own account."""


@dataclass(frozen=True)
class FeatureExamples:
    """The examples of one feature, as a source gave them."""

    feature: int
    activity: Activity | None
    """None where the source does not say."""
    examples: Sequence[Example] = ()
    baselines: Sequence[Baseline] = ()
