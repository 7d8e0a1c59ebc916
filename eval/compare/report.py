"""Settings beside each other: means with intervals, paired differences, wins, and a best one chosen honestly.

Intervals are bootstraps over features, seeded. A setting is chosen on one half of the features and reported on the
other, since the best of several looks better than it is.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from agent.log.comparisons import FitRow
from eval.compare.measures import CHOSEN_BY, JOINT, MEASURES, REPORTED, YES_OR_NO
from eval.metrics import Estimate, mean, paired_difference, proportion
from probes.settings import ProbeSettings

TIE = 1e-9
"""Values that are closer than this are equal; what is left is rounding."""

MIN_FEATURES = 6
"""For a verdict: with fewer not even a sign test could tell two sides apart at 5 %, and a bootstrap is too narrow."""

Values = Mapping[int, float]
"""By feature, those alone that have one."""


@dataclass(frozen=True)
class SettingMeasures:
    """One setting's values by measure."""

    own: Mapping[str, Values]
    another: Mapping[str, Values]
    """The control: on other features' texts, the mean over them."""
    reasons: Mapping[str, Mapping[int, str]]
    """Why features have no value of their own, by measure."""


@dataclass(frozen=True)
class MeasureSummary:
    """One setting by one measure."""

    setting: ProbeSettings
    measure: str
    mean: Estimate
    control: Estimate | None
    """On other features' texts; None where the measure hangs on no texts."""
    unmeasured: Sequence[tuple[str, int]]
    """Why how many features have no value, the most frequent reason first."""


@dataclass(frozen=True)
class PairedComparison:
    """One side against another, on the features that have both."""

    difference: Estimate
    """Of the one less the other."""
    wins: int
    ties: int
    losses: int

    @property
    def win_rate(self) -> Estimate:
        """Share of all features on which the one is ahead; ties are no wins."""
        return proportion(self.wins, self.wins + self.ties + self.losses)

    @property
    def is_enough(self) -> bool:
        """Tells whether there are features enough for any verdict."""
        return self.difference.n >= MIN_FEATURES

    @property
    def is_shown(self) -> bool:
        """Tells whether the interval of the difference excludes 0, and there are features enough.

        A difference that does not vary has no interval: it is shown where all features are on one side, which a sign
        test tells from chance.
        """
        low, high, n = self.difference.low, self.difference.high, self.difference.n
        if low is None or high is None:
            return self.is_enough and n in (self.wins, self.losses)
        return self.is_enough and (low > 0 or high < 0)


@dataclass(frozen=True)
class SettingPair:
    """A setting against another by one measure."""

    setting: ProbeSettings
    baseline: ProbeSettings
    measure: str
    versus: PairedComparison


@dataclass(frozen=True)
class SettingChoice:
    """The setting that did best on the development half, and how it does on the other."""

    setting: ProbeSettings
    measure: str
    n_development: int
    """Features that it was chosen on."""
    reported: Estimate
    """Its mean on the other half."""
    pair: SettingPair | None
    """There against the baseline; None where the baseline itself was chosen."""


def setting_measures(fits: Iterable[FitRow], features: Collection[int]) -> SettingMeasures:
    """The values of some features under one setting, with those that are made of them."""
    own: dict[str, dict[int, float]] = {name: {} for name in MEASURES}
    others: dict[str, dict[int, list[float]]] = {name: {} for name in MEASURES}
    reasons: dict[str, dict[int, str]] = {name: {} for name in MEASURES}
    wanted = frozenset(features)
    for fit in fits:
        if fit.feature not in wanted:
            continue
        if fit.value is None:
            if fit.is_own:
                reasons[fit.measure][fit.feature] = fit.reason or ""
        elif fit.is_own:
            own[fit.measure][fit.feature] = fit.value
        else:
            others[fit.measure].setdefault(fit.feature, []).append(fit.value)
    another = {name: {feature: fmean(some) for feature, some in by.items()} for name, by in others.items()}
    return _with_derived(own, another, reasons)


def measure_summaries(values: Mapping[ProbeSettings, SettingMeasures], seed: int) -> list[MeasureSummary]:
    """Every setting by every measure that any feature has a value of, and by those that none has, with why."""
    return [
        MeasureSummary(
            setting,
            measure,
            over_features(measure, found.own[measure], seed),
            over_features(measure, found.another[measure], seed) if found.another[measure] else None,
            Counter(found.reasons[measure].values()).most_common(),
        )
        for measure in REPORTED
        for setting, found in values.items()
    ]


def over_features(measure: str, values: Values, seed: int) -> Estimate:
    """The mean over features, or the proportion where a feature's value is yes or no."""
    if measure in YES_OR_NO:
        return proportion(round(sum(values.values())), len(values)) if values else mean([], seed)
    return mean(in_order(values), seed)


def pairs(values: Mapping[ProbeSettings, SettingMeasures], baseline: ProbeSettings, seed: int) -> list[SettingPair]:
    """Every other setting against the baseline, by every measure that both have."""
    found = [
        pair(values, setting, baseline, measure, seed)
        for measure in REPORTED
        for setting in values
        if setting != baseline
    ]
    return [item for item in found if item.versus.difference.n]


def pair(
    values: Mapping[ProbeSettings, SettingMeasures],
    setting: ProbeSettings,
    baseline: ProbeSettings,
    measure: str,
    seed: int,
    among: Collection[int] | None = None,
) -> SettingPair:
    """One setting against another, on all features or `among` some."""
    ours, theirs = values[setting].own[measure], values[baseline].own[measure]
    return SettingPair(setting, baseline, measure, against(ours, theirs, seed, among))


def against(ours: Values, theirs: Values, seed: int, among: Collection[int] | None = None) -> PairedComparison:
    """Mean difference over the features that have both, and on how many ours is ahead, equal and behind."""
    both = sorted(ours.keys() & theirs.keys() if among is None else ours.keys() & theirs.keys() & set(among))
    a, b = [ours[f] for f in both], [theirs[f] for f in both]
    signs = [0 if abs(x - y) <= TIE else 1 if x > y else -1 for x, y in zip(a, b, strict=True)]
    return PairedComparison(paired_difference(a, b, seed), signs.count(1), signs.count(0), signs.count(-1))


def halves(features: Collection[int], seed: int) -> tuple[frozenset[int], frozenset[int]]:
    """A development half and the other; the smaller is for development."""
    order = np.random.default_rng(seed).permutation(sorted(features)).tolist()
    return frozenset(order[: len(order) // 2]), frozenset(order[len(order) // 2 :])


def choice(
    values: Mapping[ProbeSettings, SettingMeasures],
    baseline: ProbeSettings,
    seed: int,
    measure: str = CHOSEN_BY,
    among: Collection[int] | None = None,
) -> SettingChoice | None:
    """The best setting by a measure; None for a single one, or where no feature has values under all of them.

    Settings are compared on the features that have a value under every one; the first of equals is taken.
    """
    common = frozenset.intersection(*(frozenset(found.own[measure]) for found in values.values()))
    development, other = halves(common if among is None else common & set(among), seed)
    if len(values) < 2 or not development:
        return None
    best = best_of(values, baseline, measure, development)
    reported = over_features(measure, {f: values[best].own[measure][f] for f in other}, seed)
    beaten = None if best == baseline else pair(values, best, baseline, measure, seed, other)
    return SettingChoice(best, measure, len(development), reported, beaten)


def best_of(
    values: Mapping[ProbeSettings, SettingMeasures], baseline: ProbeSettings, measure: str, among: Collection[int]
) -> ProbeSettings:
    """The setting of the highest mean over features that all have a value of; the baseline where none beats it."""
    features = sorted(among)
    means = {
        setting: sum(map(found.own[measure].__getitem__, features)) / len(features) for setting, found in values.items()
    }
    best = max(means, key=means.__getitem__)
    return baseline if means[best] - means[baseline] <= TIE else best


def in_order(values: Values) -> list[float]:
    """The values by feature, so that a bootstrap does not hang on the order they came in."""
    return [values[feature] for feature in sorted(values)]


def _with_derived(
    own: Mapping[str, Values], another: Mapping[str, Values], reasons: Mapping[str, Mapping[int, str]]
) -> SettingMeasures:
    fit, control = _joint(own), _joint(another)
    specific = {feature: fit[feature] - control[feature] for feature in fit.keys() & control.keys()}
    why = {**reasons["list"], **reasons["tree"]}
    alone = dict.fromkeys(fit.keys() - control.keys(), "no other feature was there to compare with")
    return SettingMeasures(
        own={CHOSEN_BY: specific, JOINT: fit, **own},
        another={CHOSEN_BY: {}, JOINT: control, **another},
        reasons={CHOSEN_BY: {**why, **alone}, JOINT: why, **reasons},
    )


def _joint(by_measure: Mapping[str, Values]) -> Values:
    lists, trees = by_measure["list"], by_measure["tree"]
    return {feature: (lists[feature] + trees[feature]) / 2 for feature in lists.keys() & trees.keys()}
