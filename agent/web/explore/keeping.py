"""Stores evidence while exploring, in a run of the kind `explore`, one for each subject."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.log.evidence import add_evidence, evidence_rounds, evidence_rows
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, finish_run
from probes.evidence import Evidence
from probes.presets import SubjectCard


@dataclass(frozen=True)
class KeptEvidence:
    """The place of stored evidence in the log."""

    run_id: int
    feature: int
    round: int
    is_new: bool
    """False if the log had it already."""


def exploration(card: SubjectCard) -> RunIdentity:
    """Returns the identity of the one run that holds what was explored of a subject."""
    return RunIdentity(kind="explore", subject=card, settings={}, explainer="", templates={})


def keep(path: Path, card: SubjectCard, feature: int, evidence: Sequence[Evidence]) -> KeptEvidence:
    """Writes a feature's evidence as the next round of the subject's `explore` run, begun if there is none.

    Raises LogError where the log cannot be written, or that run is being written by another process.
    """
    identity = exploration(card)
    with RunLog.open(path) as log:
        run_id = log.begin_run(identity, [feature]).run_id
        rounds = log.read(evidence_rounds, run_id, feature)
        before = [number for number, pieces in rounds.items() if pieces[0].settings == evidence[0].settings]
        number = before[0] if before else max(rounds, default=0) + 1
        if not before:
            log.write(add_evidence, evidence_rows(run_id, feature, number, evidence)).result()
        log.write(finish_run, run_id).result()
        return KeptEvidence(run_id, feature, number, is_new=not before)
