"""The loop of one feature: evidence, question, answer, and either a label or other settings to look again with.

Evidence and answers are logged before they are used, and read from the log when a run resumes.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent.breaker import INTERNAL
from agent.calls.asking import AnswerSource
from agent.evidence.digest import EvidencePiece, citable, digest, escaped
from agent.evidence.shown_examples import ACTIVE_SHARE, ShownExamples
from agent.evidence.table import table
from agent.llm.base import Answer, Request
from agent.planning import CLAMP_RANGE, EXPONENT_RANGE, SCALE_RANGE, Planner, RoundPlan
from agent.prober import EvidenceSource
from agent.runlog import RunLog
from agent.schema import Check, Outcome, Proposal
from agent.secrets import without_secrets
from probes.errors import FeatureError, InterpretError, SettingsError
from probes.evidence import Evidence, ProbeRequest
from probes.presets import SubjectCard
from prompts import render

PURPOSE = "explain"
TEMPLATES = ("explain", "system")
"""The templates that decide what a loop finds."""
GOOD = 0.9
"""Balanced accuracy on the texts shown from which on a label is not asked for again."""
CHANCE = 0.5
"""Of a balanced accuracy."""
OWN_WORDS_CHARS = 400
"""Most characters of an explainer's earlier reason in a prompt."""

logger = logging.getLogger(__name__)


class Feedback(Protocol):
    """Checks labels on the examples that an explainer may see."""

    async def check(self, feature: int, round: int, proposal: Proposal) -> Check:
        """Scores the proposed label. Raises errors that end a run."""
        ...


class Material(Protocol):
    """Activating examples that an explainer may see."""

    @property
    def corpus(self) -> str:
        """Returns the identity of their corpus, the same in any log."""
        ...

    def texts(self, feature: int) -> ShownExamples | None:
        """Returns the examples that an explainer may see; None if the feature was not looked at."""
        ...

    def feedback(self, asker: AnswerSource, seed: int) -> Feedback:
        """Returns a check of labels on such examples that asks `asker`."""
        ...


class Circuit(Protocol):
    """An attribution graph that holds the features."""

    def part(self, feature: int) -> str | None:
        """Returns the prompt's part about the feature's place in the graph; None if it has none."""
        ...


@dataclass(frozen=True)
class EarlierRound:
    """An earlier round: its evidence, the explainer's answer, and the result of that answer."""

    pieces: list[EvidencePiece]
    proposal: Proposal
    plan: RoundPlan
    """The plan of the following round."""
    check: Check | None = None
    """The check of the label, if one was proposed and checked."""


@dataclass(frozen=True)
class Loop:
    """The tools and settings that the loops of all features of a run share."""

    run_id: int
    card: SubjectCard
    planner: Planner
    rounds: int
    prober: EvidenceSource
    asker: AnswerSource | None
    """None asks nothing: a feature ends with the evidence of its first round."""
    log: RunLog
    system: str
    """The system prompt, the same for every feature."""
    material: Material | None = None
    feedback: Feedback | None = None
    circuit: Circuit | None = None

    async def label_feature(self, feature: int) -> Outcome:
        """Labels the feature; its own faults are in the outcome, which then counts no rounds.

        Raises errors that end the run: LogError, ExplainerError, SubjectError, BudgetError, StoppedError.
        """
        try:
            return await self._look(feature)
        except (FeatureError, SettingsError) as error:
            return Outcome(feature=feature, status="failed", rounds=0, reason=str(error))
        except InterpretError:
            raise
        except Exception as error:  # a fault of ours must not cost the other features of a long run
            logger.exception("Feature %d failed", feature)
            reason = without_secrets(f"{INTERNAL}{type(error).__name__}: {error}")
            return Outcome(feature=feature, status="failed", rounds=0, reason=reason)

    async def _look(self, feature: int) -> Outcome:
        plan = self.planner.first(feature)
        if self.asker is None:
            await self._evidence(feature, 1, plan.requests)
            return Outcome(feature=feature, status="probed", rounds=1)
        tried = [*plan.requests]
        past: list[EarlierRound] = []
        pieces: list[EvidencePiece] = []
        ids: set[str] = set()
        while True:
            number = len(past) + 1
            if plan.requests:
                pieces = await self._pieces(feature, number, plan.requests, first=_next_id(pieces))
                ids.update(line["id"] for piece in pieces for line in citable(piece))
            answer = await self.asker.ask(self._request(feature, pieces, past))
            proposal = answer.proposal
            check = await self._check(feature, number, proposal)
            last = number == self.rounds or proposal is None or proposal.action == "abstain"
            if proposal is None or last or (proposal.action == "label" and _is_good(check)):
                return _best(feature, past, proposal, check, ids) or _outcome(feature, number, answer, ids)
            plan = RoundPlan()
            if proposal.action == "probe":
                plan = self.planner.next(feature, proposal.settings, tried)
            elif proposal.action == "test":
                plan = self.planner.test(feature, proposal.tests, tried)
            tried += plan.requests
            past.append(EarlierRound(pieces, proposal, plan, check))

    async def _check(self, feature: int, number: int, proposal: Proposal | None) -> Check | None:
        if self.feedback is None or proposal is None or proposal.action != "label":
            return None
        return await self.feedback.check(feature, number, proposal)

    async def _pieces(
        self, feature: int, number: int, requests: Sequence[ProbeRequest], first: int
    ) -> list[EvidencePiece]:
        """Returns the round's evidence as lines. The evidence itself is dropped: thousands of features may wait with
        theirs.
        """
        return digest(await self._evidence(feature, number, requests), self.card.default_scale, first=first)

    async def _evidence(self, feature: int, number: int, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """The round's evidence as logged, probed first if need be.

        Always as logged: storing rounds a little, and a prompt must read the same when the run is resumed or replayed.
        """
        if not self.log.has_evidence(self.run_id, feature, number):
            evidence = await self.prober.probe(requests)
            # encoding is work: not on the event loop
            kept = await asyncio.to_thread(self.log.add_evidence, self.run_id, feature, number, evidence)
            await asyncio.wrap_future(kept)
        return self.log.evidence_of(self.run_id, feature, number)

    def _request(self, feature: int, pieces: Sequence[EvidencePiece], past: Sequence[EarlierRound]) -> Request:
        number = len(past) + 1
        context = {
            "feature": feature,
            "subject": _subject(self.card),
            "round": number,
            "rounds": self.rounds,
            "last": number == self.rounds,
            "evidence": [*pieces],
            "table": table(pieces),
            "looks_at_texts": self.material is not None,
            "texts": None if self.material is None else self.material.texts(feature),
            "in_context": ACTIVE_SHARE,
            "graph": None if self.circuit is None else self.circuit.part(feature),
            "can_test": self.planner.tests and number < self.rounds,
            "history": [_history(position, round_) for position, round_ in enumerate(past, start=1)],
        }
        prompt = render("explain", context)
        return Request(
            feature=feature,
            round=number,
            purpose=PURPOSE,
            item=0,
            system=self.system,
            prompt=prompt.text,
            template=prompt.template,
            template_hash=prompt.hash,
            context=context,
        )


def system_prompt(planner: Planner, looks_at_texts: bool = False) -> str:
    """Renders the system prompt: how to read evidence, when to label, and the moves that `planner` grants."""
    context = {
        "prompts": [*planner.offered_prompts],
        "scale_range": SCALE_RANGE,
        "exponent_range": EXPONENT_RANGE,
        "looks_at_texts": looks_at_texts,
        "sweeps": planner.sweeps,
        "tests": planner.tests,
        "clamp_range": CLAMP_RANGE if planner.clamps else None,
    }
    return render("system", context).text


def _next_id(pieces: Sequence[EvidencePiece]) -> int:
    """Returns the id number of the next piece of evidence; ids are unique among a feature's rounds."""
    return int(pieces[-1]["id"].removeprefix("E")) + 1 if pieces else 1


def _subject(card: SubjectCard) -> dict[str, Any]:
    return {
        "name": escaped(card.name, OWN_WORDS_CHARS),
        "hook": escaped(card.hook),
        "n_features": card.n_features,
        "default_scale": card.default_scale,
    }


def _history(number: int, round_: EarlierRound) -> dict[str, Any]:
    change = round_.proposal.settings
    asked = {} if change is None else change.model_dump(mode="json", exclude_none=True)
    return {
        "round": number,
        "evidence": round_.pieces if round_.plan.requests else [],
        "asked": {
            name: escaped(value, OWN_WORDS_CHARS) if isinstance(value, str) else value for name, value in asked.items()
        },
        "tested": len(round_.proposal.tests) if round_.proposal.action == "test" else 0,
        "reason": escaped(round_.proposal.reason, OWN_WORDS_CHARS),
        "notes": [escaped(note) for note in round_.plan.notes],
        "refusal": escaped(round_.plan.refusal, OWN_WORDS_CHARS),
        "label": escaped(round_.proposal.label, OWN_WORDS_CHARS),
        "check": None if round_.check is None else round_.check.model_dump(mode="json"),
    }


def _is_good(check: Check | None) -> bool:
    """Tests if a label needs no improvement: it scores well, or its score is unknown."""
    return check is None or check.value is None or check.value >= GOOD


def _best(
    feature: int, past: Sequence[EarlierRound], proposal: Proposal | None, check: Check | None, ids: set[str]
) -> Outcome | None:
    """Returns the label that did best on the examples shown, the first of equals; None if no label may stand.

    An earlier label takes the place of what the explainer says last, be it another label, an abstention or nothing that
    can be used, only where it beats chance: where the whole 95 % interval of its balanced accuracy lies above it. At
    chance it is worth no more than the explainer's doubt.
    """
    tried = [(round_.proposal, round_.check) for round_ in past if _beats_chance(round_.check)]
    tried += [] if proposal is None else [(proposal, check)]
    measured = [(made, found.value) for made, found in tried if found is not None and found.value is not None]
    if not measured:
        return None
    best, _ = max(measured, key=lambda pair: pair[1])
    return _labelled(feature, best, len(past) + 1, ids)


def _beats_chance(check: Check | None) -> bool:
    return check is not None and check.low is not None and check.low > CHANCE


def _outcome(feature: int, number: int, answer: Answer, ids: set[str]) -> Outcome:
    """Returns the outcome that a last answer ends a feature with. Ids that no line of evidence has are left out."""
    proposal = answer.proposal
    if proposal is None:
        reason = answer.exchange.error or "the explainer gave no answer"
        return Outcome(feature=feature, status="failed", rounds=number, reason=reason)
    if proposal.action != "label":
        still = {"probe": "still asked for other settings", "test": "still asked for texts to be run"}
        before = f"{still[proposal.action]} in the last round: " if proposal.action in still else ""
        return Outcome(feature=feature, status="abstained", rounds=number, reason=before + proposal.reason)
    return _labelled(feature, proposal, number, ids)


def _labelled(feature: int, proposal: Proposal, number: int, ids: set[str]) -> Outcome:
    return Outcome(
        feature=feature,
        status="labelled",
        label=" ".join(proposal.label.split()),
        explanation=proposal.explanation,
        confidence=proposal.confidence,
        rounds=number,
        reason=proposal.reason,
        evidence=tuple(name for name in proposal.evidence if name in ids),
    )
