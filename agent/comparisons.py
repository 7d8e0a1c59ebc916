"""The part of the run log that is about settings compared: how they fit, and what is recommended for a subject.

Reached as `RunLog.comparisons`. How it is stored lies in `agent.store.comparisons`.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Any

from agent.store import classes
from agent.store import comparisons as store
from agent.store.classes import ClassRow
from agent.store.comparisons import (
    ComparisonIdentity,
    ComparisonRow,
    EvidenceKey,
    FitRow,
    Recommendation,
)
from probes.evidence import Evidence
from probes.settings import ProbeSettings

__all__ = [
    "ClassRow",
    "ComparisonIdentity",
    "ComparisonRow",
    "Comparisons",
    "EvidenceKey",
    "FitRow",
    "Recommendation",
]

COMPARE = "compare"
"""The explainer of runs that hold evidence to be compared."""


class Comparisons:
    """Reads and writes comparisons through an open log. Every method raises `LogError` where the file is at fault."""

    def __init__(self, read: Callable[..., Any], write: Callable[..., Future[Any]]) -> None:
        """Each takes a function of the database and its arguments."""
        self._read = read
        self._write = write

    def begin(self, identity: ComparisonIdentity) -> int:
        """The comparison of that identity, made if there is none."""
        comparison_id: int = self._write(store.begin_comparison, identity).result()
        return comparison_id

    def add_fits(self, comparison_id: int, setting: ProbeSettings, fits: Sequence[FitRow]) -> None:
        """Keeps how well a setting fits some features, in the place of what was known of that."""
        self._write(store.add_fits, comparison_id, setting, fits).result()

    def all(self, fingerprint: str | None = None) -> list[ComparisonRow]:
        """The comparisons of a subject, or all, the latest first."""
        found: list[ComparisonRow] = self._read(store.comparisons, fingerprint)
        return found

    def settings(self, comparison_id: int) -> list[ProbeSettings]:
        """The settings that a comparison has, the first compared first."""
        found: list[ProbeSettings] = self._read(store.compared, comparison_id)
        return found

    def fits(self, comparison_id: int, setting: ProbeSettings) -> list[FitRow]:
        """Returns a comparison's fits of a setting."""
        found: list[FitRow] = self._read(store.fits, comparison_id, setting)
        return found

    def evidence_keys(self, run_ids: Sequence[int], features: Collection[int]) -> list[EvidenceKey]:
        """Returns the keys of the evidence that these runs have of these features."""
        found: list[EvidenceKey] = self._read(store.evidence_keys, run_ids, features)
        return found

    def evidence_by_id(self, ids: Collection[int]) -> dict[int, Evidence]:
        """Returns that evidence."""
        found: dict[int, Evidence] = self._read(store.evidence_by_id, ids)
        return found

    def add_classes(self, comparison_id: int, fingerprint: str, found: Sequence[tuple[int, str, str | None]]) -> None:
        """Keeps of which kind features are and which probe captures them, in the place of what was said of them."""
        self._write(classes.add_classes, comparison_id, fingerprint, found).result()

    def classes(self, fingerprint: str) -> dict[int, ClassRow]:
        """The latest class of each of a subject's features that has one."""
        found: dict[int, ClassRow] = self._read(classes.classes, fingerprint)
        return found

    def recommend(self, fingerprint: str, comparison_id: int, settings: ProbeSettings, because: str) -> None:
        """Keeps what is recommended for a subject from here on; what was before stays in the log."""
        self._write(store.add_recommendation, fingerprint, comparison_id, settings, because).result()

    def recommendation(self, fingerprint: str) -> Recommendation | None:
        """The latest one for a subject."""
        found: Recommendation | None = self._read(store.recommendation, fingerprint)
        return found
