"""JSONL: a line for each feature, nested and complete; any text of a log survives in it."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.export.base import ExportedRun, ExportedScore, Record
from agent.groups import layer_of
from agent.log.reviews import ReviewRow
from probes.doors.outputs import written


def write(exported: ExportedRun, path: Path) -> None:
    """Writes the lines. Raises OutputError."""
    with written(path) as file:
        for record in exported.records:
            file.write(json.dumps(_line(record, exported)).encode("ascii") + b"\n")


def _line(record: Record, exported: ExportedRun) -> Mapping[str, Any]:
    label = record.label
    return {
        "run": record.run.run_id,
        "subject": record.run.subject["name"],
        **({"layer": layer_of(record.run)} if exported.group.is_many else {}),
        "feature": label.feature,
        "status": label.status,
        "label": label.label,
        **({"reviewed_label": record.reviewed_label} if exported.reviewed else {}),
        "explanation": label.explanation,
        "confidence": label.confidence,
        "probability": record.probability,
        "reason": label.reason,
        "rounds": label.rounds,
        "evidence": label.evidence,
        "senses": [asdict(sense) for sense in label.senses],
        "activates_on": label.activates_on,
        "promotes": label.promotes,
        "explainer": record.run.explainer,
        "created": label.created,
        "kind": record.sorted_as and record.sorted_as.kind,
        "captured_by": record.sorted_as and record.sorted_as.captured,
        "verdict": record.review and record.review.verdict,
        "reviews": [_review(said) for said in record.reviews],
        "scores": [_score(scored) for scored in record.scores],
    }


def _review(said: ReviewRow) -> Mapping[str, Any]:
    """Returns a review without its ids, which mean nothing outside the log."""
    return {name: value for name, value in asdict(said).items() if name not in ("review_id", "label_id")}


def _score(scored: ExportedScore) -> Mapping[str, Any]:
    score, scoring = scored.score, scored.scoring
    return {
        "scoring": scoring.scoring_id,
        "judge": scoring.judge,
        "scorer": score.scorer,
        "part": score.part,
        "variant": score.variant,
        "label": score.label,
        "metric": score.metric,
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "n": score.n,
        "reason": score.reason,
        "extra": dict(score.extra),
    }
