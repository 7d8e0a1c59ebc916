"""A sweep as an explainer and a terminal read it: the choice, its criterion, and the other candidates' scores."""

from typing import TypedDict

from agent.evidence.printable import printable
from agent.evidence.wording import place_beside, weights_words
from probes.evidence import Sweep, SweepPoint

MAX_SHOWN = 12
"""Candidates that are shown; of more, those of the largest scores."""


class SweepCandidate(TypedDict):
    settings: str
    score: float | None
    divergence: float | None
    entropy_bits: float | None
    chosen: bool


class SweepSummary(TypedDict):
    """The result of a sweep, for prompts and pages."""

    criterion: str
    prompts: list[str]
    """Base prompts whose trees of the chosen vector were compared."""
    agreement: float | None
    p_value: float | None
    """The p-value of the best score, among those of random features with a sweep of their own."""
    tried: int
    points: list[SweepCandidate]
    """Points in the sweep's order."""


def candidates(sweep: Sweep, default_scale: float) -> SweepSummary:
    """Returns the sweep's most promising points, the chosen one included, with scales as multiples of the default."""
    ranked = sorted(range(len(sweep.points)), key=lambda place: _rank(sweep.points[place], place == sweep.chosen))
    shown = sorted(ranked[:MAX_SHOWN])
    return {
        "criterion": sweep.criterion,
        "prompts": [printable(prompt) for prompt in sweep.prompts],
        "agreement": sweep.agreement,
        "p_value": sweep.p_value,
        "tried": len(sweep.points),
        "points": [_candidate(sweep.points[place], place == sweep.chosen, default_scale) for place in shown],
    }


def _rank(point: SweepPoint, chosen: bool) -> tuple[bool, bool, float]:
    return not chosen, point.score is None, -(point.score or 0.0)


def _candidate(point: SweepPoint, chosen: bool, default_scale: float) -> SweepCandidate:
    return {
        "settings": f"{weights_words(point.vector)}, {place_beside(point.vector, default_scale)}",
        "score": point.score,
        "divergence": point.divergence,
        "entropy_bits": point.entropy_bits,
        "chosen": chosen,
    }
