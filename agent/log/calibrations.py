"""Calibrations and the probabilities they give to labels: rows in, values out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.log.rows import first, insert, now, select

_OF_RUN = """
    SELECT label_id, probability FROM probabilities
    WHERE label_id IN (SELECT id FROM labels WHERE run_id = :run_id)
"""


@dataclass(frozen=True)
class Calibration:
    """A fitted map as it is kept."""

    explainer: str
    fitted_on: str
    fingerprints: Sequence[str]
    map: Mapping[str, Any]
    n: int
    n_right: int
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class CalibrationRow(Calibration):
    """A calibration of the log."""

    calibration_id: int
    created: str


@dataclass(frozen=True)
class Given:
    """The probability that a label is right, and by which calibration."""

    probability: float
    calibration: CalibrationRow

    def __str__(self) -> str:
        return f"{self.probability:.2f}, calibrated on {self.calibration.fitted_on}"


def add_calibration(db: Database, found: Calibration) -> int:
    """Keeps a calibration beside those before it; returns its id."""
    texts = {name: json.dumps(getattr(found, name)) for name in ("fingerprints", "map", "figures")}
    return insert(db, "calibrations", {**vars(found), **texts, "created": now()})


def calibrations_of(db: Database, explainer: str) -> list[CalibrationRow]:
    """Returns the calibrations of an explainer, the latest first."""
    sql = "SELECT * FROM calibrations WHERE explainer = :explainer ORDER BY created DESC, id DESC"
    return [_calibration(row) for row in select(db, sql, explainer=explainer)]


def probability_of(db: Database, label_id: int) -> Given | None:
    """Returns the probability of a label; None where it has none."""
    sql = """SELECT probability, calibrations.* FROM probabilities
        JOIN calibrations ON calibrations.id = calibration_id WHERE label_id = :label_id"""
    found = first(db, sql, label_id=label_id)
    return None if found is None else Given(found.pop("probability"), _calibration(found))


def keep_probabilities(db: Database, calibration_id: int, given: Mapping[int, float | None]) -> None:
    """Keeps probabilities by label, in the place of those that they had; None leaves a label with none."""
    for label_id, probability in given.items():
        db.execute("DELETE FROM probabilities WHERE label_id = ?", [label_id])
        if probability is not None:
            row = {"label_id": label_id, "calibration_id": calibration_id, "probability": probability}
            insert(db, "probabilities", row)


def probabilities_of(db: Database, run_id: int) -> dict[int, float]:
    """Returns the probabilities of a run's labels, by label."""
    return {row["label_id"]: row["probability"] for row in select(db, _OF_RUN, run_id=run_id)}


def is_calibrated(db: Database, run_id: int) -> bool:
    """Tells whether any label of a run has a probability."""
    # CROSS keeps SQLite to the order: most logs have no probability, and a run's labels are many.
    sql = "SELECT 1 FROM probabilities CROSS JOIN labels ON labels.id = label_id WHERE run_id = :run_id LIMIT 1"
    return first(db, sql, run_id=run_id) is not None


def calibrated_labels(db: Database, run_id: int, calibration_id: int) -> frozenset[int]:
    """Returns the labels of a run whose probability is from that calibration."""
    sql = f"{_OF_RUN} AND calibration_id = :calibration_id"
    return frozenset(row["label_id"] for row in select(db, sql, run_id=run_id, calibration_id=calibration_id))


def _calibration(row: dict[str, Any]) -> CalibrationRow:
    del row["title"]  # for whoever browses the file
    texts = {name: json.loads(row[name]) for name in ("fingerprints", "map", "figures")}
    return CalibrationRow(calibration_id=row.pop("id"), **row | texts)
