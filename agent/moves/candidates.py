"""Chooses among the candidate labels of one answer: the one whose own texts activate the feature most.

This scores no label: a label's score comes from fresh texts of another call (`eval.scorers.clarity`).
"""

from statistics import fmean

from agent.moves.senses import same_words
from agent.schema import Candidate, Proposal
from probes.evidence import ExpectedText, Experiment

TEXTS = 4
"""Texts of a candidate that are run."""


def texts_of(proposal: Proposal, most: int) -> list[ExpectedText]:
    """Returns the first texts of the first `most` candidates; none without a label or a choice."""
    if proposal.action != "label" or most < 2:
        return []
    return [
        ExpectedText(text, True, candidate.label)
        for candidate in proposal.candidates[:most]
        for text in candidate.texts[:TEXTS]
    ]


def best_candidate(proposal: Proposal, experiment: Experiment) -> Proposal:
    """Returns the proposal with the candidate label whose texts activate the feature most, the first of equals.

    Measured by the mean over its texts of the largest activation, as a proportion of the feature's maximum. Returns
    the proposal unchanged if nothing could be measured. Of a replaced label nothing stays: senses, scopes, reason, and
    the confidence, which the explainer stated of it and of no other.
    """
    strengths = [(candidate, _strength(candidate, experiment)) for candidate in proposal.candidates]
    measured = [(candidate, strength) for candidate, strength in strengths if strength is not None]
    if not measured:
        return proposal
    best, _ = max(measured, key=lambda pair: pair[1])
    if same_words(best.label, proposal.label):
        return proposal
    change = {"label": best.label, "explanation": best.explanation, "confidence": None}
    nothing = {"evidence": (), "senses": (), "activates_on": "", "promotes": "", "reason": ""}
    return proposal.model_copy(update=change | nothing)


def _strength(candidate: Candidate, experiment: Experiment) -> float | None:
    """Returns the mean activation on a candidate's texts; None if none could be measured."""
    mine = (r for r in experiment.results if same_words(r.asked.hypothesis, candidate.label))
    found = [value for result in mine if (value := experiment.proportion(result)) is not None]
    return fmean(min(max(value, 0.0), 1.0) for value in found) if found else None
