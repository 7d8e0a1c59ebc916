"""An explainer's answer and a feature's outcome: the values that cross the boundary to the LLM."""

import unicodedata
from dataclasses import dataclass
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, Field, model_validator

from probes.settings import Value

Action = Literal["label", "probe", "test", "compare", "steer", "abstain"]
Status = Literal["labelled", "abstained", "failed"]
Ending = Status | Literal["probed"]
"""How the work on a feature ends: with a label's status, or, where nobody is asked, with its evidence alone."""
Kind = Literal["dead", "positional", "single token", "concept", "other", "unknown"]
"""What a feature is, by where it activates."""
Capture = Literal["both", "list only", "tree only", "neither"]
"""Which probes capture a feature."""
CLASSES: tuple[str, ...] = (*get_args(Kind), *get_args(Capture))
"""The words that a feature's class is asked for by."""


LABEL_CHARS = 200
SCOPE_CHARS = 300

_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufffc")
"""Of other categories, but nothing to see: fillers of Hangul, the empty Braille cell, a place for an object."""


def is_visible(text: str) -> bool:
    """Tests if any character is visible by itself: no space, control or format character, no mark that needs another
    one.
    """
    return any(unicodedata.category(char)[0] not in "ZCM" and char not in _BLANK for char in text)


def _seen(label: str) -> str:
    if not is_visible(label):
        raise ValueError("a label needs characters that can be seen")
    return label


LabelText = Annotated[str, Field(max_length=LABEL_CHARS), AfterValidator(_seen)]
"""The words of a label."""


class SettingsChange(Value):
    """The settings an explainer asks for; what it leaves out stays as it was in round 1."""

    weights: str | None = None
    """`words`, `vocabulary`, `encoder`, `decoder` or `blend:b`."""
    scale: float | None = None
    """As a multiple of the subject's default scale."""
    centroid: bool | None = None
    pca: tuple[float, ...] | None = None
    prompt: str | None = None
    """A base prompt, by name only."""
    exponent: float | None = None
    clamp: float | None = None
    """The activation that the feature is held at while the tree grows, as a multiple of its maximum."""
    clamp_at: str | None = None
    """`ghost`, `after` or `all`: see `SteeringSettings.at`."""


class TextTest(Value):
    """A text with the explainer's prediction of the feature's activity on it."""

    text: str
    expected: bool
    """True if the feature should activate on it."""
    hypothesis: str = ""
    """The sense or candidate label that it speaks for or against; empty for the `label` of the answer."""


class Sense(Value):
    """One of the things that a feature stands for."""

    text: LabelText
    evidence: tuple[str, ...] = ()
    """Ids of the evidence lines that support it."""


class Candidate(Value):
    """A label that is proposed beside others, with texts on which the feature should activate if it is right."""

    label: LabelText
    explanation: str = Field(default="", max_length=2000)
    texts: tuple[str, ...] = ()


class Proposal(Value):
    """An explainer's answer to one round of evidence."""

    action: Action
    """`label`: settled. `probe`: look again with `settings`. `test`: run `tests` on the model. `compare`: see what
    tells the feature from its nearest ones. `steer`: see what the model writes with the feature clamped. `abstain`:
    the evidence does not carry a label."""
    label: str = Field(default="", max_length=LABEL_CHARS)
    senses: tuple[Sense, ...] = ()
    """Senses of the label, at most three; empty if it names one thing."""
    activates_on: str = Field(default="", max_length=SCOPE_CHARS)
    """The label's scope in texts: on which tokens of which texts the feature activates."""
    promotes: str = Field(default="", max_length=SCOPE_CHARS)
    """Its scope in what the model writes: the tokens that the feature makes more probable."""
    candidates: tuple[Candidate, ...] = ()
    """Labels of which the one whose texts activate the feature most is kept, in a run that asks for several."""
    explanation: str = Field(default="", max_length=2000)
    confidence: float | None = Field(default=None, ge=0, le=1)
    """The explainer's own probability that the label is right; a label needs one, for unknown is not 0."""
    evidence: tuple[str, ...] = ()
    """Ids of the evidence lines that the label rests on."""
    settings: SettingsChange | None = None
    tests: tuple[TextTest, ...] = ()
    reason: str = Field(default="", max_length=2000)
    """The reason for these settings, or for abstaining."""

    @model_validator(mode="after")
    def _a_label_is_whole(self) -> Self:
        if self.action == "label":
            _seen(self.label)
            if self.confidence is None:
                raise ValueError("a label needs its confidence, a number from 0 to 1")
        return self


class Check(Value):
    """The score of a proposed label on examples that the explainer may see."""

    value: float | None
    """Balanced accuracy; None where it could not be measured."""
    low: float | None = None
    """The lower end of its 95 % interval."""
    n: int
    missed: tuple[str, ...] = ()
    """Activating examples that the label was judged not to fit, escaped."""
    mistaken: tuple[str, ...] = ()
    """Non-activating examples that the label was judged to fit, escaped."""


@dataclass(frozen=True)
class SenseResult:
    """A sense of a label, with the results of the texts that were run for it."""

    text: str
    evidence: tuple[str, ...] = ()
    n_positive: int = 0
    """Number of measured texts on which the feature should activate."""
    n_activating: int = 0
    """Number of these on which it activates; if there are few, the sense is too wide."""
    n_near_misses: int = 0
    """Number of measured texts on which it should not activate."""
    n_not_activating: int = 0
    """Number of these on which it does not; if there are few, the sense is too narrow."""
    dropped: bool = False
    """True if none of its own texts activates the feature: it is then no part of the label."""


@dataclass(frozen=True)
class EarlierOutcome:
    """The outcome that was doubtful, before a stronger explainer was asked."""

    status: str
    label: str
    confidence: float | None
    rounds: int


class Outcome(Value):
    """The outcome of one feature's loop."""

    feature: int
    status: Ending
    label: str = ""
    explanation: str = ""
    confidence: float | None = None
    rounds: int
    reason: str = ""
    evidence: tuple[str, ...] = ()
    senses: tuple[SenseResult, ...] = ()
    """Senses of the label, one if it names one thing; the dropped ones come last."""
    activates_on: str = ""
    promotes: str = ""
    before: EarlierOutcome | None = None
    """The first explainer's outcome, where the feature was escalated."""
