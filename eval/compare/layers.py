"""The same settings on several subjects, each compared on features of its own.

Features of different SAEs are no pairs, so nothing is pooled and no trend is tested: each layer has its own interval.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eval.compare.measures import CHOSEN_BY, JOINT
from eval.compare.report import PairedComparison, SettingPair
from probes.presets import SubjectCard
from probes.settings import ProbeSettings

MEASURES = (CHOSEN_BY, JOINT, "list", "tree")


@dataclass(frozen=True)
class LayerComparison:
    """One setting against the baseline on one subject, by name: what `default` scale means is each subject's own."""

    subject: SubjectCard
    setting: str
    measure: str
    versus: PairedComparison


def layers(
    found: Iterable[tuple[SubjectCard, Mapping[ProbeSettings, str], Iterable[SettingPair]]],
) -> list[LayerComparison]:
    """By measure and setting, so that the layers of each stand below one another."""
    rows = [
        LayerComparison(card, names[pair.setting], pair.measure, pair.versus)
        for card, names, pairs in found
        for pair in pairs
        if pair.measure in MEASURES
    ]
    return sorted(rows, key=lambda row: (MEASURES.index(row.measure), row.setting, row.subject.layer, row.subject.name))
