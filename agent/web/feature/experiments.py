"""Shows an explainer's tests: its texts, shaded by the feature's activations, beside what it expected of each.

Every text returned is safe to print.
"""

from dataclasses import dataclass

from agent.evidence.printable import printable
from agent.web.feature.texts import ShadedToken, shaded_token
from probes.evidence import Experiment, TextResult


@dataclass(frozen=True)
class TestRow:
    """A text that was run."""

    tokens: tuple[ShadedToken, ...]
    hypothesis: str
    expected: bool
    held: bool | None
    """Whether the feature did as expected; None where that cannot be told."""
    proportion: str
    """Of the feature's maximum; empty where it was not measured."""


@dataclass(frozen=True)
class ExperimentView:
    """The texts of one round."""

    name: str
    round: int
    caption: str
    lines: tuple[TestRow, ...]


def tested(experiment: Experiment, name: str, round: int) -> ExperimentView:
    """An experiment as the page shows it."""
    told = [held for held in map(experiment.held, experiment.results) if held is not None]
    of = "in texts" if experiment.is_of_texts else "on single tokens"
    caption = f"{sum(told)} of {len(told)} as expected; shares of the maximum {of}, {experiment.maximum:.3g}"
    return ExperimentView(name, round, caption, tuple(_line(experiment, result) for result in experiment.results))


def _line(experiment: Experiment, result: TextResult) -> TestRow:
    proportion = experiment.proportion(result)
    tokens = [
        shaded_token(token, value, experiment.maximum)
        for token, value in zip(result.tokens, result.activations, strict=True)
    ]
    return TestRow(
        tokens=tuple(tokens) or (shaded_token(result.asked.text, 0.0, 0.0),),
        hypothesis=printable(result.asked.hypothesis),
        expected=result.asked.activates,
        held=experiment.held(result),
        proportion="" if proportion is None else f"{proportion:.0%}",
    )
