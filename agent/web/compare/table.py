"""Every setting of a comparison by one measure, sorted; the one that is chosen on a part of the features."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agent.web.axis import Axis, axis_over
from agent.web.compare.comparison import SEED, Comparison
from agent.web.compare.pair import PlottedEstimate, drawn
from eval.compare.measures import CHOSEN_BY, JOINT
from eval.compare.report import PairedComparison, SettingChoice, against, best_of, choice, halves, in_order
from eval.compare.verdict import choice_words, estimate_words, figure, interval
from eval.metrics import Estimate, mean

WIDTH = 300
"""Of the axis of means."""
HALVINGS = 100
"""Ways of halving the features in which it is looked at what is chosen."""
SORTS = {"mean": "mean", "difference": "difference", "order": "order of the grid"}


@dataclass(frozen=True)
class SettingRow:
    """A setting by the chosen measure."""

    place: int
    name: str
    mean: Estimate
    words: str
    drawn: PlottedEstimate | None
    control: str
    control_at: float | None
    """Position of the mean on other features' examples."""
    ahead: PairedComparison | None
    """Difference from the setting on the horizontal axis; None for that setting itself."""
    ahead_words: str
    is_through: bool
    """True if it was measured on about as many features as the others."""


@dataclass(frozen=True)
class SettingTable:
    """All settings, sorted."""

    rows: Sequence[SettingRow]
    axis: Axis
    reference: float | None
    """Position of chance, if it is on the axis."""
    n_common: int | None
    """Number of features in the means, if they are the same for all."""

    @property
    def has_control(self) -> bool:
        """Tests if the measure depends on examples, so that other features' examples are a control."""
        return any(row.control for row in self.rows)


@dataclass(frozen=True)
class ChosenSetting:
    """The setting chosen on a development half, its score on the other half, and its choice by other halves."""

    place: int
    sentence: str
    reported: PlottedEstimate | None
    axis: Axis
    choice: SettingChoice
    often: Sequence[tuple[str, int]]
    """Settings with the number of halvings that choose them, the most frequent first."""


def table(found: Comparison, across: int, measure: str, common: bool, sort: str) -> SettingTable:
    """Makes the table of every setting, fully measured ones first."""
    through = found.through
    means = [found.mean(place, measure, common) for place in range(len(found.settings))]
    controls = [mean(in_order(found.control(place, measure, common)), SEED) for place in range(len(means))]
    ends = [end for one in means for end in (one.value, one.low, one.high) if end is not None]
    ends += [one.value for one in controls if one.value is not None]
    chance = chance_of(measure)
    axis = axis_over([*ends, *([] if chance is None or not _is_near(chance, ends) else [chance])], WIDTH, 5)
    rows = [
        _row(found, place, across, measure, common, means[place], controls[place], axis) for place in range(len(means))
    ]
    reference = None if chance is None or not axis.low <= chance <= axis.high else axis.at(chance)
    shared = found.common(measure) if common else None
    ranked = sorted(rows, key=lambda row: (row.place not in through, *_rank(row, sort)))
    return SettingTable(ranked, axis, reference, None if shared is None else len(shared))


def chosen(found: Comparison, across: int, measure: str) -> ChosenSetting | None:
    """Chooses among the fully measured settings; None if there is no choice."""
    values = {found.settings[place]: found.values[found.settings[place]] for place in {across, *found.through}}
    baseline = found.settings[across]
    made = choice(values, baseline, SEED, measure)
    if made is None:
        return None
    names = dict(zip(found.settings, found.names, strict=True))
    common = frozenset.intersection(*(frozenset(one.own[measure]) for one in values.values()))  # as `choice` has it
    picked = Counter(names[best_of(values, baseline, measure, halves(common, seed)[0])] for seed in range(HALVINGS))
    shown = made.reported if made.pair is None else made.pair.versus.difference
    ends = [end for end in (shown.value, shown.low, shown.high) if end is not None]
    axis = axis_over([0.0, *ends], WIDTH, 5)
    place = found.settings.index(made.setting)
    sentence = choice_words(made, names.__getitem__)
    return ChosenSetting(place, sentence, drawn(shown, axis), axis, made, picked.most_common())


def chance_of(measure: str) -> float | None:
    """Returns the score of guessing."""
    return {CHOSEN_BY: 0.0, JOINT: 0.5, "list": 0.5, "tree": 0.5, "agreement": 0.5}.get(measure)


def _row(
    found: Comparison, place: int, across: int, measure: str, common: bool, own: Estimate, control: Estimate, axis: Axis
) -> SettingRow:
    versus = None
    if place != across:
        versus = against(found.own(place, measure, common), found.own(across, measure, common), SEED)
    return SettingRow(
        place=place,
        name=found.names[place],
        mean=own,
        words=estimate_words(own),
        drawn=drawn(own, axis),
        control="" if control.value is None else figure(control.value),
        control_at=None if control.value is None else axis.at(control.value),
        ahead=versus,
        ahead_words="" if versus is None else _difference_words(versus.difference),
        is_through=place in found.through,
    )


def _rank(row: SettingRow, sort: str) -> tuple[float, int]:
    if sort == "order":
        return 0.0, row.place
    value = row.mean.value if sort == "mean" else row.ahead.difference.value if row.ahead else 0.0
    return (float("inf") if value is None else -value), row.place


def _difference_words(difference: Estimate) -> str:
    if difference.value is None:
        return ""
    sign = "+" if difference.value > 0 else ""
    return f"{sign}{figure(difference.value)} {interval(difference)}".strip()


def _is_near(chance: float, ends: Sequence[float]) -> bool:
    """Tests if chance fits on the axis without squeezing everything else."""
    return bool(ends) and min(abs(chance - end) for end in ends) <= max(ends) - min(ends)
