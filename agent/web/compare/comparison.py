"""A comparison as read from the log, with results computed from it."""

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from agent.log.comparisons import ComparisonRow, compared_settings, fits_of
from agent.log.run_log import RunLog
from eval.compare.grid import names_of
from eval.compare.measures import CHOSEN_BY, JOINT, REPORTED
from eval.compare.report import MIN_FEATURES, SettingMeasures, Values, in_order, setting_measures
from eval.metrics import Estimate, mean
from probes.settings import ProbeSettings

SEED = 0
"""Of bootstraps, and of the halves that a choice is made and reported on."""
_THROUGH = 0.5
"""A setting that was measured on less than this share of what others were is one that a grid was cut off at."""

P = ParamSpec("P")
T = TypeVar("T")


class Comparison:
    """Settings in the order of comparison, each with its measurements."""

    def __init__(self, settings: Sequence[ProbeSettings], values: Sequence[SettingMeasures]) -> None:
        self.settings = settings
        self.values = dict(zip(settings, values, strict=True))
        self.names = [*names_of(settings).values()] if settings else []
        self._counted: dict[Hashable, Any] = {}

    @classmethod
    def load(cls, log: RunLog, comparison_id: int) -> Self:
        """Reads the comparison from the log."""
        settings = log.read(compared_settings, comparison_id)
        found = [log.read(fits_of, comparison_id, setting) for setting in settings]
        return cls(settings, [setting_measures(rows, {row.feature for row in rows}) for rows in found])

    def once(self, make: Callable[Concatenate[Self, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns the result of `make` for this comparison; computed the first time only."""
        key = (make, args, tuple(kwargs.items()))
        if key not in self._counted:
            self._counted[key] = make(self, *args, **kwargs)
        found: T = self._counted[key]
        return found

    def mean(self, place: int, measure: str, common: bool) -> Estimate:
        """Returns a setting's mean over features."""
        return self.once(_mean, place, measure, common)

    @property
    def through(self) -> list[int]:
        """Returns the indices of the settings that were measured on about as many features as any."""
        sizes = [len(_looked_at(self.values[setting])) for setting in self.settings]
        return [place for place, size in enumerate(sizes) if size >= _THROUGH * max(sizes)]

    @property
    def is_uneven(self) -> bool:
        """Tests if settings were measured on different features."""
        return len({_looked_at(self.values[setting]) for setting in self.settings}) > 1

    def own(self, place: int, measure: str, common: bool) -> Values:
        """Returns a setting's values, on all features or on those common to all settings."""
        return _among(self.values[self.settings[place]].own[measure], self.common(measure) if common else None)

    def control(self, place: int, measure: str, common: bool) -> Values:
        """Returns its values on other features' examples; empty if the measure depends on no examples."""
        found = self.values[self.settings[place]].another.get(measure, {})
        return _among(found, self.common(measure) if common else None)

    def common(self, measure: str) -> frozenset[int] | None:
        """Returns the features with a value under every fully measured setting; None if there are too few."""
        own = [frozenset(self.values[self.settings[place]].own[measure]) for place in self.through]
        found = frozenset.intersection(*own)
        return found if len(found) >= MIN_FEATURES else None

    @property
    def usual_measure(self) -> str:
        """Returns the first measure that has values, in the order of importance."""
        having = (name for name in REPORTED if any(found.own[name] for found in self.values.values()))
        return next(having, CHOSEN_BY)

    def opposite(self, place: int) -> int:
        """Returns the setting that differs in its weights alone, else the next one, or itself if it is alone."""
        mine = self.settings[place]
        for other, setting in enumerate(self.settings):
            weights = {"weights": setting.vector.weights}
            if other != place and mine.model_copy(update={"vector": mine.vector.model_copy(update=weights)}) == setting:
                return other
        return next((other for other in range(len(self.settings)) if other != place), place)


def _mean(found: Comparison, place: int, measure: str, common: bool) -> Estimate:
    return mean(in_order(found.own(place, measure, common)), SEED)


def subject_words(row: ComparisonRow) -> str:
    """Names the subject of a comparison."""
    return f"{row.subject.name}, {row.subject.hook}"


def _among(values: Values, features: Collection[int] | None) -> Values:
    return values if features is None else {f: value for f, value in values.items() if f in features}


def _looked_at(found: SettingMeasures) -> frozenset[int]:
    return frozenset(found.own[JOINT]) | frozenset(found.reasons[JOINT])
