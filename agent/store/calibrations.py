"""Calibrations and the probabilities they give to labels: rows in, values out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.store.provenance import now
from agent.store.table import insert, rows

CALIBRATION_TABLES = """
CREATE TABLE calibrations (             -- how likely an explainer's labels are right, told from what is known of them
    id INTEGER PRIMARY KEY,
    explainer TEXT NOT NULL,            -- whose labels, as in runs.explainer
    fitted_on TEXT NOT NULL,            -- which labels, and by what they are right, in words
    fingerprints TEXT NOT NULL,         -- JSON: of the subjects whose labels these are, as in runs.subject
    map TEXT NOT NULL,                  -- JSON: columns with their weights, or the steps of one column
    n INTEGER NOT NULL,                 -- labels that it was fitted on
    n_right INTEGER NOT NULL,
    figures TEXT NOT NULL,              -- JSON: what it is worth, out of fold, beside the stated confidence
    created TEXT NOT NULL,
    title TEXT GENERATED ALWAYS AS (explainer || ', ' || n || ' labels, ' || substr(created, 1, 10)) VIRTUAL,
    UNIQUE (explainer, created)
);

CREATE TABLE probabilities (            -- that a label is right, by the calibration that was made for it last
    id INTEGER PRIMARY KEY,
    label_id INTEGER NOT NULL UNIQUE REFERENCES labels (id),
    calibration_id INTEGER NOT NULL REFERENCES calibrations (id),
    probability REAL NOT NULL
);
CREATE INDEX probabilities_value ON probabilities (probability, label_id);
CREATE INDEX probabilities_calibration ON probabilities (calibration_id);
"""

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
    """Keeps a calibration beside those before it; its id."""
    texts = {name: json.dumps(getattr(found, name)) for name in ("fingerprints", "map", "figures")}
    return insert(db, "calibrations", {**vars(found), **texts, "created": now()})


def calibrations(db: Database, explainer: str) -> list[CalibrationRow]:
    """Returns the calibrations of an explainer, the latest first."""
    sql = "SELECT * FROM calibrations WHERE explainer = :explainer ORDER BY created DESC, id DESC"
    return [_calibration(row) for row in rows(db, sql, {"explainer": explainer})]


def given_to(db: Database, label_id: int) -> Given | None:
    """The probability of a label; None where it has none."""
    sql = """SELECT probability, calibrations.* FROM probabilities
        JOIN calibrations ON calibrations.id = calibration_id WHERE label_id = :label_id"""
    found = rows(db, sql, {"label_id": label_id})
    return next((Given(row.pop("probability"), _calibration(row)) for row in found), None)


def give_probabilities(db: Database, calibration_id: int, given: Mapping[int, float | None]) -> None:
    """Probabilities by label, in the place of those that the labels had; None leaves a label with none."""
    for label_id, probability in given.items():
        db.execute("DELETE FROM probabilities WHERE label_id = ?", [label_id])
        if probability is not None:
            row = {"label_id": label_id, "calibration_id": calibration_id, "probability": probability}
            insert(db, "probabilities", row)


def probabilities(db: Database, run_id: int) -> dict[int, float]:
    """The probabilities of a run's labels, by label."""
    return {row["label_id"]: row["probability"] for row in rows(db, _OF_RUN, {"run_id": run_id})}


def is_calibrated(db: Database, run_id: int) -> bool:
    """Tells whether any label of a run has a probability."""
    return next(rows(db, f"{_OF_RUN} LIMIT 1", {"run_id": run_id}), None) is not None


def calibrated_labels(db: Database, run_id: int, calibration_id: int) -> frozenset[int]:
    """The labels of a run whose probability is from that calibration."""
    sql = f"{_OF_RUN} AND calibration_id = :calibration_id"
    return frozenset(row["label_id"] for row in rows(db, sql, {"run_id": run_id, "calibration_id": calibration_id}))


def _calibration(row: dict[str, Any]) -> CalibrationRow:
    del row["title"]  # for whoever browses the file
    texts = {name: json.loads(row[name]) for name in ("fingerprints", "map", "figures")}
    return CalibrationRow(calibration_id=row.pop("id"), **row | texts)
