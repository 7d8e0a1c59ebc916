"""The labels of a run are given the probability that they are right, by the calibration that is made for them.

Knows the log; fits nothing.
"""

from collections.abc import Iterable, Sequence

from agent.log.calibrations import CalibrationRow, calibrated_labels, calibrations_of, keep_probabilities
from agent.log.evidence import evidence_rounds
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from eval.calibration.columns import LabelWithEvidence, values_of
from eval.calibration.maps import map_of
from probes.evidence import Evidence


def give_probabilities(log: RunLog, runs: Iterable[RunSummary]) -> int:
    """Gives one to each label of the runs that is not yet calibrated as it should be; how many labels have one now.

    A label gets none where nothing was calibrated for its explainer, or where something that the map needs is not
    known of it. Raises LogError.
    """
    return sum(_give(log, run) for run in runs)


def calibration_for(found: Sequence[CalibrationRow], fingerprint: str) -> CalibrationRow | None:
    """Of an explainer's calibrations, the latest first: the latest on labels of that subject, else of any."""
    own = (one for one in found if fingerprint in one.fingerprints)
    return next(own, next(iter(found), None))


def known_of(log: RunLog, label: LabelRow) -> LabelWithEvidence:
    """A label with a way to its evidence in the log."""
    return LabelWithEvidence(label, lambda: _evidence(log, label))


def _give(log: RunLog, run: RunSummary) -> int:
    calibration = calibration_for(log.read(calibrations_of, run.explainer), run.subject["fingerprint"])
    if calibration is None:
        return 0
    fitted = map_of(calibration.map)
    done = log.read(calibrated_labels, run.run_id, calibration.calibration_id)
    labels = [label for label in log.read(labels_of, run.run_id, status="labelled") if label.label_id not in done]
    given = {label.label_id: fitted.probability(values_of(known_of(log, label), fitted.columns)) for label in labels}
    if given:
        log.write(keep_probabilities, calibration.calibration_id, given).result()
    return len(done) + sum(probability is not None for probability in given.values())


def _evidence(log: RunLog, label: LabelRow) -> list[Evidence]:
    rounds = log.read(evidence_rounds, label.run_id, label.feature)
    return [item for evidence in rounds.values() for item in evidence]
