"""Plans the next round as an answer asks for it: other settings, texts, neighbours, or the feature clamped."""

from collections.abc import Callable, Mapping, Sequence

from agent.moves.candidates import texts_of
from agent.moves.texts import notes, runnable
from agent.planning import CLAMP_RANGE, Planner, RoundPlan, clamped
from agent.schema import Action, Proposal
from probes.evidence import ExpectedText, ProbeRequest
from probes.settings import SteeringSettings

STEERED_AT = 1.0
"""Default activation at which a feature is clamped, as a multiple of its maximum."""
NOT_ALLOWED = "the model is not experimented on in this run"


def next_plan(planner: Planner, feature: int, proposal: Proposal, tried: Sequence[ProbeRequest]) -> RoundPlan:
    """Plans the round that the answer asks for; empty if it asks for none."""
    move = _MOVES.get(proposal.action)
    return RoundPlan() if move is None else move(planner, feature, proposal, tried)


def candidates_plan(planner: Planner, feature: int, proposal: Proposal, tried: Sequence[ProbeRequest]) -> RoundPlan:
    """Plans a round with the texts of a label's candidates; empty if there is no choice."""
    asked = texts_of(proposal, planner.candidates)
    kept = runnable(asked, tried)
    if len({text.hypothesis for text in kept}) < 2:
        return RoundPlan()
    return RoundPlan((_experiment(planner, feature, kept),), tuple(notes(asked, kept)))


def _probe(planner: Planner, feature: int, proposal: Proposal, tried: Sequence[ProbeRequest]) -> RoundPlan:
    return planner.next(feature, proposal.settings, tried)


def _test(planner: Planner, feature: int, proposal: Proposal, tried: Sequence[ProbeRequest]) -> RoundPlan:
    if not planner.tests:
        return RoundPlan(refusal=NOT_ALLOWED)
    asked = [ExpectedText(test.text, test.expected, test.hypothesis or proposal.label) for test in proposal.tests]
    kept = runnable(asked, tried)
    told = tuple(notes(asked, kept))
    if not kept:
        return RoundPlan(notes=told, refusal="there was no text that was not run before")
    return RoundPlan((_experiment(planner, feature, kept),), told)


def _compare(planner: Planner, feature: int, _proposal: Proposal, tried: Sequence[ProbeRequest]) -> RoundPlan:
    if not planner.tests:
        return RoundPlan(refusal=NOT_ALLOWED)
    if any(request.kind == "neighbours" for request in tried):
        return RoundPlan(refusal="the nearest features were shown in an earlier round")
    return RoundPlan((ProbeRequest("neighbours", feature, planner.probe),))


def _steer(planner: Planner, feature: int, proposal: Proposal, tried: Sequence[ProbeRequest]) -> RoundPlan:
    if not planner.tests:
        return RoundPlan(refusal=NOT_ALLOWED)
    told: list[str] = []
    named = None if proposal.settings is None else proposal.settings.clamp
    strength = STEERED_AT if named is None else clamped("clamp", named, CLAMP_RANGE, told)
    steering = SteeringSettings(mode="clamp", at="all", strength=strength)
    settings = planner.probe.model_copy(update={"steering": steering})
    if any(request.kind == "continuations" and request.settings == settings for request in tried):
        return RoundPlan(notes=tuple(told), refusal="the feature was clamped at that in an earlier round")
    request = ProbeRequest("continuations", feature, settings, maximum=planner.maximum_of(feature))
    return RoundPlan((request,), tuple(told))


def _experiment(planner: Planner, feature: int, texts: Sequence[ExpectedText]) -> ProbeRequest:
    return ProbeRequest("experiment", feature, planner.probe, tuple(texts), planner.maximum_of(feature))


_MOVES: Mapping[Action, Callable[[Planner, int, Proposal, Sequence[ProbeRequest]], RoundPlan]] = {
    "probe": _probe,
    "test": _test,
    "compare": _compare,
    "steer": _steer,
}
