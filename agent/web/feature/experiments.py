"""An explainer's experiments as the page shows them: its texts, nearest features, writing with a clamp.

Every text that is returned is safe to print.
"""

from dataclasses import dataclass

from agent.evidence.printable import printable
from agent.web.feature.texts import ShadedToken, shaded_token
from probes.behaviour import Continuations, Neighbour, Neighbours, TokenPair
from probes.evidence import Experiment, TextResult


@dataclass(frozen=True)
class TestRow:
    """A text that was run."""

    tokens: tuple[ShadedToken, ...]
    hypothesis: str
    expected: bool
    held: bool | None
    """True if the feature did as expected; None if it was not measured."""
    proportion: str
    """Proportion of the feature's maximum; empty if it was not measured."""


@dataclass(frozen=True)
class ExperimentView:
    """The texts of one round."""

    name: str
    round: int
    caption: str
    lines: tuple[TestRow, ...]


@dataclass(frozen=True)
class NeighbourRow:
    """A near feature, and tokens that distinguish the two."""

    feature: int
    cosine: str
    own: tuple[str, ...]
    shared: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True)
class NeighbourTable:
    """The nearest features of one round."""

    name: str
    round: int
    rows: tuple[NeighbourRow, ...]


@dataclass(frozen=True)
class WrittenTable:
    """Openings continued with the feature clamped, each a tuple of opening, text, and text with a random feature."""

    name: str
    round: int
    caption: str
    other: int | None
    """The random feature; None if nothing was written."""
    rows: tuple[tuple[str, str, str], ...]


def neighbour_table(found: Neighbours, name: str, round: int) -> NeighbourTable:
    """Makes the table of the nearest features."""
    return NeighbourTable(name, round, tuple(map(_neighbour_row, found.neighbours)))


def written_table(found: Continuations, name: str, round: int) -> WrittenTable:
    """Makes the table of continuations; if nothing was written it has no rows and the caption says why."""
    if not found.lines:
        return WrittenTable(name, round, f"nothing was written: {printable(found.reason)}", None, ())
    at = f"{found.settings.steering.strength:.3g} times its maximum, {found.amount:.3g}"
    lines = tuple((printable(line.opening), printable(line.text), printable(line.beside)) for line in found.lines)
    return WrittenTable(name, round, f"with the feature clamped at {at}", found.other, lines)


def tested(experiment: Experiment, name: str, round: int) -> ExperimentView:
    """Makes the view of an experiment."""
    told = [held for held in map(experiment.held, experiment.results) if held is not None]
    of = "in texts" if experiment.is_of_texts else "on single tokens"
    caption = f"{sum(told)} of {len(told)} as expected; proportions of the maximum {of}, {experiment.maximum:.3g}"
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


def _neighbour_row(one: Neighbour) -> NeighbourRow:
    return NeighbourRow(one.feature, f"{one.cosine:.2f}", *map(_tokens, (one.own, one.shared, one.other)))


def _tokens(pairs: tuple[TokenPair, ...]) -> tuple[str, ...]:
    return tuple(printable(pair.token) for pair in pairs)
