"""Outcomes of the loop of one feature, from its last answer and from labels checked before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agent.evidence.digest import EvidencePiece
from agent.llm.base import Answer
from agent.moves.senses import sense_results
from agent.planning import RoundPlan
from agent.schema import LABEL_CHARS, Check, Outcome, Proposal, SenseResult
from probes.evidence import Experiment

GOOD = 0.9
"""Balanced accuracy on the texts shown from which on a label is not asked for again."""
CHANCE = 0.5
"""Of a balanced accuracy."""
_STILL = {
    "probe": "still asked for other settings",
    "test": "still asked for texts to be run",
    "compare": "still asked for the nearest features",
    "steer": "still asked for the feature to be clamped",
}


@dataclass(frozen=True)
class Round:
    """An earlier round: its evidence, the explainer's answer, and the result of that answer."""

    pieces: list[EvidencePiece]
    proposal: Proposal
    plan: RoundPlan
    """The plan of the following round."""
    check: Check | None = None
    """The check of the label, if one was proposed and checked."""


@dataclass(frozen=True)
class Findings:
    """Evidence on a feature that decides which of its labels and senses may stand."""

    feature: int
    ids: frozenset[str]
    """Ids of all lines of evidence; other ids in an answer are left out."""
    experiments: Sequence[Experiment]


def is_good(check: Check | None) -> bool:
    """Tests if a label needs no improvement: it scores well, or its score is unknown."""
    return check is None or check.value is None or check.value >= GOOD


def outcome(
    found: Findings, past: Sequence[Round], answer: Answer, proposal: Proposal | None, check: Check | None
) -> Outcome:
    """Returns the outcome of a last answer; `proposal` is the answer's, with the chosen label."""
    number = len(past) + 1
    best = best_tried(past, proposal, check)
    if best is not None:
        return labelled(found, best, number)
    if proposal is None:
        reason = answer.exchange.error or "the explainer gave no answer"
        return Outcome(feature=found.feature, status="failed", rounds=number, reason=reason)
    if proposal.action != "label":
        before = f"{_STILL[proposal.action]} in the last round: " if proposal.action in _STILL else ""
        return Outcome(feature=found.feature, status="abstained", rounds=number, reason=before + proposal.reason)
    return labelled(found, proposal, number)


def best_tried(past: Sequence[Round], proposal: Proposal | None, check: Check | None) -> Proposal | None:
    """Returns the label that did best on the examples shown, the first of equals; None if none was checked.

    An earlier label takes the place of what the explainer says last, be it another label, an abstention or nothing that
    can be used, only where it beats chance: where the whole 95 % interval of its balanced accuracy lies above it. At
    chance it is worth no more than the explainer's doubt.
    """
    tried = [(round_.proposal, round_.check) for round_ in past if _beats_chance(round_.check)]
    tried += [] if proposal is None else [(proposal, check)]
    measured = [(made, found.value) for made, found in tried if found is not None and found.value is not None]
    return max(measured, key=lambda pair: pair[1])[0] if measured else None


def labelled(found: Findings, proposal: Proposal, number: int) -> Outcome:
    """Returns a label with its senses, less those that none of their texts bears out; abstains if none is left."""
    senses = [_cited(sense, found.ids) for sense in sense_results(proposal, found.experiments)]
    kept = [sense for sense in senses if not sense.dropped]
    dropped = [sense for sense in senses if sense.dropped]
    reason = " ".join([*filter(None, [proposal.reason]), *map(_dropped_words, dropped)])
    ordered = (*kept, *dropped)
    if not kept:
        return Outcome(feature=found.feature, status="abstained", rounds=number, reason=reason, senses=ordered)
    return Outcome(
        feature=found.feature,
        status="labelled",
        label=_joined(kept) if dropped else " ".join(proposal.label.split()),
        explanation=proposal.explanation,
        confidence=proposal.confidence,
        rounds=number,
        reason=reason,
        evidence=tuple(name for name in proposal.evidence if name in found.ids),
        senses=ordered,
        activates_on=" ".join(proposal.activates_on.split()),
        promotes=" ".join(proposal.promotes.split()),
    )


def _beats_chance(check: Check | None) -> bool:
    return check is not None and check.low is not None and check.low > CHANCE


def _cited(sense: SenseResult, ids: frozenset[str]) -> SenseResult:
    return replace(sense, evidence=tuple(name for name in sense.evidence if name in ids))


def _joined(senses: Sequence[SenseResult]) -> str:
    """Joins the senses in one line, for tables."""
    line = "; ".join(sense.text for sense in senses)
    return line if len(line) <= LABEL_CHARS else f"{line[: LABEL_CHARS - 1]}…"


def _dropped_words(sense: SenseResult) -> str:
    texts = (
        "its one text does not activate" if sense.n_positive == 1 else f"none of its {sense.n_positive} texts activates"
    )
    return f'Dropped "{sense.text}": {texts} the feature.'
