"""Tells how sure a label is before it is scored, and so which features a stronger explainer is asked about.

One rule: the calibrated probability that the label is right, where something was calibrated for its explainer; else
the least of what is known of it: the explainer's stated confidence, and the proportion of the texts run on the model
that came out as it had said. A feature without a label is always doubtful.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.log.calibrations import calibrations_of
from agent.log.labels import LabelRow
from agent.log.run_log import RunLog
from agent.schema import Outcome
from eval.calibration.applying import calibration_for, known_of
from eval.calibration.columns import values_of
from eval.calibration.maps import Isotonic, Logistic, map_of


@dataclass(frozen=True)
class Doubt:
    """The rule for one explainer on one subject."""

    below: float
    """How sure a label has to be to stand."""
    calibrated: Logistic | Isotonic | None
    """What was calibrated; None where nothing was."""
    words: str
    """What labels are judged by, for people."""

    @classmethod
    def of(cls, log: RunLog | None, explainer: str, fingerprint: str, below: float) -> "Doubt":
        """Returns the rule by what the log has calibrated for that explainer. Raises LogError."""
        found = None if log is None else calibration_for(log.read(calibrations_of, explainer), fingerprint)
        if found is None:
            return cls(below, None, "what is known of them, since nothing was calibrated for it")
        return cls(below, map_of(found.map), f"their probability, calibrated on {found.fitted_on}")

    def __call__(self, log: RunLog, run_id: int, found: Outcome) -> bool:
        """Judges an outcome of a run. Raises LogError."""
        if found.status != "labelled":
            return True
        sure = self._probability(log, run_id, found)
        return (min(_known(found), default=0.0) if sure is None else sure) < self.below

    def _probability(self, log: RunLog, run_id: int, found: Outcome) -> float | None:
        """Returns the calibrated probability; None where something that it needs is not known of the label."""
        if self.calibrated is None:
            return None
        fields = found.model_dump(exclude={"senses", "before", "status"})
        label = LabelRow(label_id=0, run_id=run_id, status="labelled", created="", senses=found.senses, **fields)
        return self.calibrated.probability(values_of(known_of(log, label), self.calibrated.columns))


def _known(found: Outcome) -> Iterator[float]:
    """Yields what is known of a label, each from 0 to 1."""
    if found.confidence is not None:
        yield found.confidence
    n_run = sum(sense.n_positive + sense.n_near_misses for sense in found.senses)
    if n_run:
        yield sum(sense.n_activating + sense.n_not_activating for sense in found.senses) / n_run
