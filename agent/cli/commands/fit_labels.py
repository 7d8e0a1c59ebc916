"""Features with the labels that an adapter is fitted to: from a run in the log, from a file, or the demo's own."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from agent.cli.commands.export import exported
from agent.cli.commands.read_log import read_log
from agent.config import RunConfig
from agent.errors import LogError
from agent.export.base import Record
from agent.groups import RunGroup
from agent.log.labels import labels_of
from agent.log.runs import chosen_run
from eval.scoring.known import known_concepts
from eval.scoring.score_run import HELD_OUT
from probes.doors.given import fault_of, finite_number, shown, whole_number
from probes.doors.text_files import read_text
from probes.errors import InterpretError, SettingsError
from probes.features import check_feature
from probes.ghost.label_loss import LabelPair
from probes.presets import SubjectCard

DEMO_KNOWN = "demo-known"
MAX_CHARS = 200
"""Characters of a label."""


@dataclass(frozen=True)
class MinScore:
    """The minimum score, by one scorer, of a label that nobody has reviewed."""

    scorer: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses `SCORER:X`. Raises SettingsError."""
        scorer, _, value = text.rpartition(":")
        least = finite_number(value)
        if least is None or not scorer:
            raise SettingsError(f"--least-score {shown(text)} is not usable; write SCORER:X, as detection:0.8.")
        return cls(scorer, least)


@dataclass(frozen=True)
class LabelPairs:
    """Labels of different features."""

    pairs: Sequence[LabelPair]
    source: str


def labelled(name: str, config: RunConfig, card: SubjectCard, least: MinScore | None) -> LabelPairs:
    """Reads labels by `name`: `demo-known`, the number of a run in the log, or a file.

    Raises InterpretError.
    """
    run_id = whole_number(name)
    if least is not None and run_id is None:
        raise SettingsError("--least-score chooses among the labels of a run; name a run with --labels.")
    if name == DEMO_KNOWN:
        return LabelPairs(_known(config), "known concepts of the demo")
    if run_id is not None:
        return _of_run(config, run_id, card, least)
    return LabelPairs([*_in_file(Path(name), card.n_features)], name)


def _known(config: RunConfig) -> list[LabelPair]:
    truth = known_concepts(config.subject)
    if truth is None:
        raise SettingsError(f"--labels {DEMO_KNOWN} is about --subject demo alone; name a run or a file of labels.")
    return [LabelPair(feature, concept.name) for feature, concept in sorted(truth.features.items())]


def _of_run(config: RunConfig, run_id: int, card: SubjectCard, least: MinScore | None) -> LabelPairs:
    with read_log(config.log) as log:
        run = log.read(chosen_run, run_id)
        if run.subject["fingerprint"] != card.fingerprint:
            raise LogError(
                f"Run {run_id} is about {run.subject['name']}, not about {card.name}; name its subject with --subject, "
                "or with --model and --sae."
            )
        records = exported(log, RunGroup((run,)), {run.run_id: log.read(labels_of, run_id)}).records
        found = [LabelPair(record.label.feature, label) for record in records if (label := _good(record, least))]
    how = "accepted or edited" + (f", or {least.scorer} of at least {least.value:g}" if least else "")
    if not found:
        raise LogError(
            f"Run {run_id} of {config.log} has no labels that are {how}; interpret review {run_id} judges them, and "
            "--least-score SCORER:X takes those that score well."
        )
    return LabelPairs(found, f"run {run_id} of {config.log}: {how}")


def _good(record: Record, least: MinScore | None) -> str | None:
    """Returns the reviewed label, or one that scores well and was not rejected; else None."""
    if record.review is not None:
        return record.reviewed_label or None
    if least is None or record.label.status != "labelled":
        return None
    key = (least.scorer, "label", HELD_OUT)
    values = (found.score.value for found in record.scores if _key(found.score) == key)
    value = next(values, None)
    return record.label.label if value is not None and value >= least.value else None


def _key(score: Any) -> tuple[str, str, str]:
    return score.scorer, score.variant, score.part


def _in_file(path: Path, n_features: int) -> Iterator[LabelPair]:
    """Reads a pair from each line of JSONL that has a label; ignores keys other than `feature` and `label`."""
    seen: set[int] = set()
    for number, line in enumerate(read_text(path, "Labels", SettingsError).split("\n"), start=1):
        try:
            pair = _pair(line, n_features) if line.strip() else None
            if pair is not None and pair.feature in seen:
                raise SettingsError(f"feature {pair.feature} has a label already")
        except InterpretError as error:
            raise SettingsError(f"Line {number} of {path} cannot be used: {str(error).rstrip('.')}.") from None
        if pair is not None:
            seen.add(pair.feature)
            yield pair


def _is_no_text(label: str | None) -> bool:
    return label is not None and bool(label.strip()) and fault_of(label) is not None


def _pair(line: str, n_features: int) -> LabelPair | None:
    """Returns a line's pair; None for a feature without label, which exports have too."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise SettingsError("it is not JSON") from None
    feature, label = (found.get("feature"), found.get("label")) if isinstance(found, dict) else (None, None)
    if type(feature) is not int or not (label is None or isinstance(label, str)) or _is_no_text(label):
        raise SettingsError('it is not like {"feature": 121, "label": "dogs"}')
    check_feature(feature, n_features)
    if len(label or "") > MAX_CHARS:
        raise SettingsError(f"its label is longer than {MAX_CHARS} characters")
    return LabelPair(feature, label.strip()) if label and label.strip() else None
