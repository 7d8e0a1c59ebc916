"""Settings compared, how well each fits each feature, and what follows: recommendations, classes of features."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.log.rows import LATEST, find_id, first, insert, made, now, replace, select
from probes.presets import SubjectCard
from probes.settings import ProbeSettings, Value


class ComparisonIdentity(Value):
    """Everything besides a setting that decides how well it fits."""

    run_id: int
    """The run that holds the evidence."""
    corpus_id: int
    settings: dict[str, Any]


@dataclass(frozen=True)
class ComparisonRow:
    """A way in which settings were compared."""

    comparison_id: int
    run_id: int
    corpus_id: int
    settings: Mapping[str, Any]
    subject: SubjectCard
    created: str


@dataclass(frozen=True)
class FitRow:
    """One measure of one feature under one setting. `value` is None exactly where `reason` says why."""

    feature: int
    measure: str
    texts_of: int
    """The feature on whose texts: its own, or as a control another's."""
    value: float | None
    reason: str | None
    low: float | None
    high: float | None
    n: int

    @property
    def is_own(self) -> bool:
        """Tells whether it is no control."""
        return self.feature == self.texts_of


@dataclass(frozen=True)
class Recommendation:
    """A recommendation of `interpret taxonomy` for a subject."""

    fingerprint: str
    settings: ProbeSettings
    because: str
    comparison_id: int
    created: str


@dataclass(frozen=True)
class ClassRow:
    """A feature's kind, and the probes that capture it."""

    feature: int
    kind: str
    captured: str | None
    """None where list or tree could not be measured."""
    comparison_id: int
    created: str

    def __str__(self) -> str:
        """`concept, captured by list only`."""
        return self.kind if self.captured is None else f"{self.kind}, captured by {self.captured}"


_COMPARISONS = """
    SELECT comparisons.*, runs.subject FROM comparisons JOIN runs ON runs.id = comparisons.run_id
    WHERE :fingerprint IS NULL OR json_extract(runs.subject, '$.fingerprint') = :fingerprint
    ORDER BY comparisons.created DESC, comparisons.id DESC
"""
_FITS = """
    SELECT feature, measure, texts_of, value, reason, low, high, n FROM fits
    JOIN compared ON compared.id = fits.compared_id
    WHERE compared.comparison_id = :comparison_id AND compared.settings = :settings ORDER BY fits.id
"""
_COMPARED = """
    SELECT count(DISTINCT feature) AS n FROM fits
    WHERE compared_id IN (SELECT id FROM compared WHERE comparison_id = :comparison_id)
"""
_CLASSES = """
    SELECT {latest}, feature, kind, captured, comparison_id, created FROM classes
    WHERE fingerprint = {fingerprint} GROUP BY feature
"""
_OF_RUN = "(SELECT json_extract(subject, '$.fingerprint') FROM runs WHERE id = :run_id)"
OF_CLASS = (
    f"SELECT feature FROM ({_CLASSES.format(fingerprint=_OF_RUN, latest=LATEST)}) WHERE :class_name IN (kind, captured)"
)
"""The features of the subject of `:run_id` whose latest class `:class_name` is a word for."""


def begin_comparison(db: Database, identity: ComparisonIdentity) -> int:
    """Returns the comparison of that identity, made if there is none."""
    key = {**identity.model_dump(include={"run_id", "corpus_id"}), "settings": _canonical(identity.settings)}
    return find_id(db, "comparisons", key) or insert(db, "comparisons", {**key, "created": now()})


def add_fits(db: Database, comparison_id: int, setting: ProbeSettings, found: Iterable[FitRow]) -> None:
    """Keeps how well a setting fits some features, in the place of what was known of that."""
    key = {"comparison_id": comparison_id, "settings": _text(setting)}
    compared_id = find_id(db, "compared", key) or insert(db, "compared", {**key, "created": now()})
    for fit in found:
        place = {"feature": fit.feature, "measure": fit.measure, "texts_of": fit.texts_of}
        replace(db, "fits", {"compared_id": compared_id, **place}, vars(fit))


def comparisons_of(db: Database, fingerprint: str | None = None) -> list[ComparisonRow]:
    """Returns the comparisons of a subject, or all, the latest first."""
    return [_comparison(row) for row in select(db, _COMPARISONS, fingerprint=fingerprint)]


def compared_settings(db: Database, comparison_id: int) -> list[ProbeSettings]:
    """Returns the settings that a comparison has, the first compared first."""
    sql = "SELECT settings FROM compared WHERE comparison_id = :comparison_id ORDER BY created, id"
    found = select(db, sql, comparison_id=comparison_id)
    return [ProbeSettings.model_validate_json(row["settings"]) for row in found]


def fits_of(db: Database, comparison_id: int, setting: ProbeSettings) -> list[FitRow]:
    """Returns a comparison's fits of a setting."""
    found = select(db, _FITS, comparison_id=comparison_id, settings=_text(setting))
    return [made(FitRow, row) for row in found]


def newest_fit(db: Database) -> tuple[Any, ...] | None:
    """Returns a value that is another one once any fit was kept, or replaced by another.

    Of all its columns, since what takes the place of the last row has its number.
    """
    row: tuple[Any, ...] | None = db.execute("SELECT * FROM fits ORDER BY id DESC LIMIT 1").fetchone()
    return row


def n_compared(db: Database, comparison_id: int) -> int:
    """Counts the features on which settings were compared."""
    return int(next(select(db, _COMPARED, comparison_id=comparison_id))["n"])


def add_recommendation(
    db: Database, fingerprint: str, comparison_id: int, settings: ProbeSettings, because: str
) -> None:
    """Keeps the recommendation for a subject from here on, once however often it is given; earlier ones stay."""
    row = {"fingerprint": fingerprint, "comparison_id": comparison_id, "settings": _text(settings), "because": because}
    found = recommendation_for(db, fingerprint)
    if found is None or (found.comparison_id, found.settings, found.because) != (comparison_id, settings, because):
        insert(db, "recommendations", {**row, "created": now()})


def recommendation_for(db: Database, fingerprint: str) -> Recommendation | None:
    """Returns the latest recommendation for a subject."""
    sql = "SELECT * FROM recommendations WHERE fingerprint = :fingerprint ORDER BY created DESC, id DESC LIMIT 1"
    row = first(db, sql, fingerprint=fingerprint)
    if row is None:
        return None
    del row["id"]
    return made(Recommendation, row | {"settings": ProbeSettings.model_validate_json(row["settings"])})


def add_classes(
    db: Database, comparison_id: int, fingerprint: str, found: Sequence[tuple[int, str, str | None]]
) -> None:
    """Keeps each feature's kind and capture, in the place of what the same comparison said of it before."""
    for feature, kind, captured in found:
        row = {"fingerprint": fingerprint, "kind": kind, "captured": captured, "created": now()}
        replace(db, "classes", {"comparison_id": comparison_id, "feature": feature}, row)


def classes_of(db: Database, fingerprint: str) -> dict[int, ClassRow]:
    """Returns the latest class of each of a subject's features that has one."""
    found = select(db, _CLASSES.format(fingerprint=":fingerprint", latest=LATEST), fingerprint=fingerprint)
    names = ClassRow.__dataclass_fields__
    return {row["feature"]: made(ClassRow, {name: row[name] for name in names}) for row in found}


def _comparison(row: dict[str, Any]) -> ComparisonRow:
    values = {"settings": json.loads(row["settings"]), "subject": SubjectCard.model_validate_json(row["subject"])}
    del row["title"]  # for whoever browses the file
    return made(ComparisonRow, {"comparison_id": row.pop("id"), **row | values})


def _text(settings: ProbeSettings) -> str:
    """Writes settings the same way if they are equal."""
    return _canonical(settings.model_dump(mode="json"))


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)
