"""Features sorted by which probe captures them and by kind, with the setting that works for each kind.

Works on what a comparison stored; knows no log and no probe.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from agent.log.comparisons import FitRow
from agent.schema import Capture
from eval.compare.kinds import KINDS
from eval.compare.report import SettingChoice, SettingMeasures, choice
from eval.metrics import Estimate, proportion
from probes.settings import ProbeSettings

CAPTURED = 0.7
"""AUROC from which on a probe captures a feature, if the lower end of its interval is above one half too."""
CAPTURES: tuple[Capture, ...] = get_args(Capture)
"""Which of the two probes captures a feature."""

Verdicts = Mapping[int, bool]
"""By feature, whether a probe captures it."""


@dataclass(frozen=True)
class CaptureResult:
    """The features that one probe captures under a setting."""

    measure: str
    own: Verdicts
    by_chance: Estimate
    """Share that counts as captured by the same rule on other features' texts, each feature with three of them."""


@dataclass(frozen=True)
class FeatureClass:
    """The features of one kind."""

    kind: str
    n: int
    share: Estimate
    """Of all features."""
    captures: Mapping[str, int]
    """How many are captured by which probe; those measured by both alone."""
    choice: SettingChoice | None
    """The setting that works for them; None where too few have values."""


def capture_result(fits: Iterable[FitRow], measure: str) -> CaptureResult:
    """Finds the features that a probe, by its measure, captures under the setting that the fits are of."""
    rows = [fit for fit in fits if fit.measure == measure and fit.value is not None]
    others = [_is_captured(fit) for fit in rows if not fit.is_own]
    own = {fit.feature: _is_captured(fit) for fit in rows if fit.is_own}
    return CaptureResult(measure, own, proportion(sum(others), len(others)))


def classes(
    kinds: Mapping[int, str],
    by_list: Verdicts,
    by_tree: Verdicts,
    values: Mapping[ProbeSettings, SettingMeasures],
    baseline: ProbeSettings,
    seed: int,
) -> list[FeatureClass]:
    """Every kind that has a feature, in the order of the rules, and all of them together as `all`."""
    groups = {kind: [feature for feature, its in kinds.items() if its == kind] for kind in KINDS}
    groups = {kind: features for kind, features in groups.items() if features} | {"all": [*kinds]}
    return [
        FeatureClass(
            kind,
            len(features),
            proportion(len(features), len(kinds)),
            captures(features, by_list, by_tree),
            choice(values, baseline, seed, among=features),
        )
        for kind, features in groups.items()
    ]


def captures(features: Sequence[int], by_list: Verdicts, by_tree: Verdicts) -> dict[str, int]:
    """Counts the features that each of the probes captures."""
    counts: dict[str, int] = dict.fromkeys(CAPTURES, 0)
    for capture in each_captured(features, by_list, by_tree).values():
        counts[capture] += 1
    return counts


def each_captured(features: Iterable[int], by_list: Verdicts, by_tree: Verdicts) -> dict[int, Capture]:
    """By which probe each of the features is captured, of those that were measured by both."""
    both = by_list.keys() & by_tree.keys()
    return {feature: capture_of(by_list[feature], by_tree[feature]) for feature in features if feature in both}


def capture_of(by_list: bool, by_tree: bool) -> Capture:
    """In words."""
    if by_list and by_tree:
        return "both"
    return "list only" if by_list else "tree only" if by_tree else "neither"


def _is_captured(fit: FitRow) -> bool:
    return fit.value is not None and fit.value >= CAPTURED and fit.low is not None and fit.low > 0.5
