"""What an explainer answers, and what becomes of it: values at the boundary to the LLM."""

from typing import Literal

from pydantic import Field

from probes.settings import Value

Action = Literal["label", "probe", "test", "abstain"]
Status = Literal["labelled", "abstained", "failed"]


class SettingsChange(Value):
    """The settings an explainer asks for; what it leaves out stays as it was in round 1."""

    weights: str | None = None
    """`encoder`, `decoder` or `blend:b`."""
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
    """A text on which the explainer says beforehand what the feature does."""

    text: str = Field(max_length=2000)
    expected: bool
    """Whether the feature should activate on it."""
    hypothesis: str = Field(default="", max_length=200)
    """The candidate label that it speaks for or against, where there are several."""


class Proposal(Value):
    """An explainer's answer to one round of evidence."""

    action: Action
    """`label`: settled. `probe`: look again with `settings`. `test`: run `tests` on the model. `abstain`: the evidence
    does not carry a label."""
    label: str = Field(default="", max_length=200)
    explanation: str = Field(default="", max_length=2000)
    confidence: float = Field(default=0.0, ge=0, le=1)
    """The explainer's own probability that the label is right."""
    evidence: tuple[str, ...] = ()
    """Ids of the evidence lines that the label rests on."""
    settings: SettingsChange | None = None
    tests: tuple[TextTest, ...] = ()
    reason: str = Field(default="", max_length=2000)
    """Why these settings, or why it abstains."""


class Check(Value):
    """How a proposed label did on texts that the explainer may see."""

    value: float | None
    """Balanced accuracy; None where it could not be measured."""
    n: int
    missed: tuple[str, ...] = ()
    """Texts on which the feature fires and to which the label was found not to fit, escaped."""
    mistaken: tuple[str, ...] = ()
    """Texts on which it is silent and to which the label was found to fit, escaped."""


class Outcome(Value):
    """What the loop of one feature ended with."""

    feature: int
    status: Status
    label: str = ""
    explanation: str = ""
    confidence: float | None = None
    rounds: int
    reason: str = ""
    evidence: tuple[str, ...] = ()
