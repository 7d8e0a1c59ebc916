"""The embedded explainer: a rule-based reader of evidence, a baseline and no language model.

It needs nothing installed and no key. It knows general English (agent.evidence.heads) and the evidence it is shown; it
knows no subject, no lexicon and no truth, and says in every explanation what it is.

How it decides: where the list of tokens that activate a feature differs from those of random directions, the strongest
noun of the tree made of them is the label, at once where it is strong, else after a few other settings. Elsewhere only
trees of other sides that differ count, and unless they differ very clearly another side or a list must say the noun
too. Words defined one by one show two senses at once (agent.llm.senses). Where the model may be experimented on, it
does so, by the rules of agent.llm.experimenting.
The rules of strength, and all figures, are in agent.llm.reading.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from agent.evidence.digest import EvidencePiece, citable, p_values
from agent.llm import experimenting
from agent.llm.base import Answer, AnswerForm, Exchange, Request
from agent.llm.free import Free
from agent.llm.reading import (
    HOPELESS,
    SETTLED,
    EvidenceReading,
    is_sure,
    names,
    read,
    trust,
    verdict,
    vocabulary_lists,
)
from agent.llm.senses import DefinedSenses, defined_senses
from agent.schema import Proposal, Sense, SettingsChange

MODEL = "rules-2"
PREFIX = "Rule-based baseline: "

CITED = 8
"""Maximum number of evidence lines cited."""

CHANGES = (
    SettingsChange(scale=1.5),
    SettingsChange(weights="decoder"),
    SettingsChange(scale=0.6),
)
"""Settings it asks for, in this order, less those asked for before."""


class Offline(Free):
    """The rule-based reader as an explainer."""

    provider = "offline"
    model = MODEL

    def __init__(self, rules: frozenset[experimenting.Rule] = experimenting.RULES) -> None:
        """`rules` are those that it follows beyond reading where a run grants experiments."""
        self._rules = rules

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:  # noqa: ARG002
        """Makes a proposal by rules from the request's context; the logged response is the proposal itself."""
        started = time.perf_counter()
        proposal = propose({**request.context, "rules": self._rules})
        duration_ms = 1000 * (time.perf_counter() - started)
        response = proposal.model_dump_json(exclude_defaults=True)
        exchange = Exchange(self.provider, self.model, response, cost_usd=0.0, duration_ms=duration_ms)
        return Answer(value=proposal, exchange=exchange)


def propose(context: Mapping[str, Any]) -> Proposal:
    """Labels, looks again or abstains, by the strongest noun in evidence that differs, over all rounds in `context`."""
    rounds = [*(past["evidence"] for past in context["history"] if past["evidence"]), context["evidence"]]
    seen = [piece for pieces in rounds for piece in pieces]
    if min(p_values(rounds[0]), default=0.0) > HOPELESS:
        return _abstained("no tree or list differs from those of random directions")
    if (two := defined_senses(rounds[0])) is not None:
        return _of_two(two)
    lists = vocabulary_lists(seen)  # probed once, however often trees are grown anew
    best = max(
        (read([*pieces, *(one for one in lists if one not in pieces)]) for pieces in rounds),
        key=lambda reading: (not reading.is_stopgap, reading.strength),
    )
    experimented = any(piece["kind"] in experimenting.KINDS for piece in seen)
    change = None if context["last"] or experimented else _next_change(context["history"])
    if (best.is_stopgap or (best.strength < SETTLED and not best.listed)) and change is not None:
        return Proposal(action="probe", settings=change, reason=f"{PREFIX}{_doubt(best)}.")
    senses = experimenting.two_senses(best, context) if not best.carries else ()
    if not best.carries and not senses:
        return _by_steering(best, context, seen)
    p_value = verdict(best, seen)
    if not is_sure(best, p_value, seen):
        told = "what there is" if p_value is None else f"p {p_value:.2f}"
        return _abstained(f'no other evidence says "{best.label}", and {told} is too weak on its own')
    confidence = round(best.certainty * trust(p_value), 3)
    if (move := experimenting.experiment(best, confidence, context, seen)) is not None:
        return move.model_copy(update={"reason": f"{PREFIX}{move.reason}."})
    if not experimenting.is_borne_out(seen):
        return _abstained(f'no text for "{best.label}" activates the feature')
    label = "; ".join(sense.text for sense in senses) or experimenting.told_apart(best.label, seen)
    return Proposal(
        action="label",
        label=label,
        senses=senses,
        promotes=experimenting.written(seen),
        explanation=_explanation(best),
        confidence=confidence,
        evidence=tuple(_cited(best)),
        candidates=experimenting.candidates(label, best, context, seen),
    )


def _by_steering(best: EvidenceReading, context: Mapping[str, Any], seen: Sequence[EvidencePiece]) -> Proposal:
    """Clamps the feature where nothing else names it, and labels it by what the model then writes."""
    if experimenting.steering(context, seen):
        return Proposal(action="steer", reason=f"{PREFIX}{_doubt(best)}.")
    word = experimenting.written(seen)
    if not word:
        return _abstained(_doubt(best))
    explanation = f'{PREFIX}with the feature clamped the model writes "{word}", with a random one it does not.'
    return Proposal(
        action="label", label=word, promotes=word, explanation=explanation, confidence=experimenting.WRITTEN_CONFIDENCE
    )


def _of_two(found: DefinedSenses) -> Proposal:
    """Labels a feature whose words are of two things."""
    first, second = found.nouns
    explanation = f'{PREFIX}of the words defined one by one, "{first}" and "{second}" head {found.share:.0%}.'
    return Proposal(
        action="label",
        label=f"{first}; {second}",
        senses=tuple(Sense(text=noun) for noun in found.nouns),
        explanation=explanation,
        confidence=round(found.share * trust(found.p_value), 3),
        evidence=found.cited[:CITED],
    )


def _abstained(reason: str) -> Proposal:
    return Proposal(action="abstain", reason=f"{PREFIX}{reason}.")


def _next_change(history: Sequence[Mapping[str, Any]]) -> SettingsChange | None:
    asked = [past["asked"] for past in history]
    return next((change for change in CHANGES if change.model_dump(exclude_none=True) not in asked), None)


def _doubt(best: EvidenceReading) -> str:
    if not best.best:
        return "no tree that differs from those of random directions names anything"
    ahead = f'the strongest head noun, "{best.best}", has strength {best.strength:.2f}'
    return f'{ahead}; the next, "{best.second}", {best.second_strength:.2f}' if best.second else ahead


def _explanation(best: EvidenceReading) -> str:
    if best.listed:
        named = best.words[0] if best.is_family else best.listed
        return f'{PREFIX}of the first listed tokens {best.strength:.0%} are "{named}" and forms of it.'
    shares = " and ".join(f"{share:.0%}" for share in best.shares)
    after = f'; next is "{best.second}"' if best.second else ""
    return f'{PREFIX}"{best.best}" heads the definitions with {shares} of the probability{after}.'


def _cited(best: EvidenceReading) -> Iterator[str]:
    """Yields the ids of the lines that name the label, trees first."""
    found = (
        line["id"]
        for piece in best.pieces
        for line in citable(piece)
        if any(names(piece, line, word) for word in best.words)
    )
    yield from islice(found, CITED)
