"""The same two settings on the other subjects of a log, each compared on features of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.log.comparisons import ComparisonRow
from agent.web.axis import Axis, axis_over
from agent.web.compare.comparison import SEED, Comparison, subject_words
from agent.web.compare.pair import PlottedEstimate, drawn
from eval.compare.report import PairedComparison, against
from eval.compare.verdict import estimate_words

WIDTH = 320


@dataclass(frozen=True)
class ComparedLayer:
    """The comparison on one subject."""

    comparison_id: int
    across: int
    up: int
    name: str
    versus: PairedComparison
    words: str
    drawn: PlottedEstimate | None


@dataclass(frozen=True)
class ComparedLayers:
    """Comparisons of the same two settings, the earliest layer first."""

    lines: Sequence[ComparedLayer]
    axis: Axis


def beside(
    rows: Sequence[ComparisonRow],
    row: ComparisonRow,
    found: Comparison,
    across: int,
    up: int,
    measure: str,
    load: Callable[[ComparisonRow], Comparison],
) -> ComparedLayers | None:
    """Finds the pair in other comparisons with settings of the same names; None if there are none.

    Settings are known again by name: what the default scale is differs from subject to subject. Of a subject that was
    compared several times it is the latest comparison.
    """
    latest = {other.subject.fingerprint: other for other in reversed(rows)} | {row.subject.fingerprint: row}
    if len(latest) < 2:
        return None
    names = found.names[across], found.names[up]
    made: list[tuple[ComparisonRow, int, int, PairedComparison]] = []
    for other in latest.values():
        its = load(other)
        if not set(names) <= {*its.names}:
            continue
        places = its.names.index(names[0]), its.names.index(names[1])
        versus = against(its.own(places[1], measure, False), its.own(places[0], measure, False), SEED)
        if versus.difference.n:
            made.append((other, *places, versus))
    if len(made) < 2:
        return None
    made.sort(key=lambda one: (one[0].subject.layer, one[0].subject.name))
    ends = [e for *_, v in made for e in (v.difference.value, v.difference.low, v.difference.high) if e is not None]
    axis = axis_over([0.0, *ends], WIDTH)
    lines = [
        ComparedLayer(
            other.comparison_id, a, b, subject_words(other), v, estimate_words(v.difference), drawn(v.difference, axis)
        )
        for other, a, b, v in made
    ]
    return ComparedLayers(lines, axis)
