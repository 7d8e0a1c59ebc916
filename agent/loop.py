"""The loop of one feature: evidence, question, answer, and either a label or another move.

Evidence and answers are logged before they are used, and read from the log when a run resumes.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.breaker import INTERNAL
from agent.calls.asking import AnswerSource
from agent.evidence.digest import EvidencePiece, citable, digest, escaped
from agent.evidence.first_grade import grade_of
from agent.evidence.shown_examples import ACTIVE_SHARE, ShownExamples
from agent.evidence.table import table
from agent.llm.base import Request
from agent.log.evidence import add_evidence, evidence_of, evidence_rows, has_evidence
from agent.log.run_log import RunLog
from agent.moves.candidates import TEXTS, best_candidate
from agent.moves.ending import Findings, Round, is_good, outcome
from agent.moves.plans import candidates_plan, next_plan
from agent.planning import CLAMP_RANGE, EXPONENT_RANGE, SCALE_RANGE, Planner, RoundPlan
from agent.prober import EvidenceSource
from agent.schema import Check, EarlierOutcome, Outcome, Proposal
from agent.secrets import without_secrets
from probes.errors import FeatureError, InterpretError, SettingsError
from probes.evidence import Evidence, Experiment, ProbeRequest
from probes.presets import SubjectCard
from prompts import render

PURPOSE = "explain"
SECOND = "escalate"
"""The purpose of a stronger explainer's calls."""
PROPOSING = (PURPOSE, SECOND)
"""The purposes of calls that propose labels."""
TEMPLATES = ("explain", "system")
"""The templates that decide what a loop finds."""
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


@dataclass
class Progress:
    """The work on one feature so far."""

    feature: int
    plan: RoundPlan
    """The plan of the round that is next or under way."""
    rounds: int
    """Most rounds of this feature."""
    past: list[Round] = field(default_factory=list)
    tried: list[ProbeRequest] = field(default_factory=list)
    pieces: list[EvidencePiece] = field(default_factory=list)
    """The evidence of the last round that probed."""
    ids: set[str] = field(default_factory=set)
    """Ids of all lines of evidence so far."""
    experiments: dict[int, list[Experiment]] = field(default_factory=dict)
    """Experiments by round."""

    @property
    def number(self) -> int:
        """The round under way, from 1 on."""
        return len(self.past) + 1

    @property
    def findings(self) -> Findings:
        """The evidence that decides on labels and senses."""
        ran = [experiment for number in sorted(self.experiments) for experiment in self.experiments[number]]
        return Findings(self.feature, frozenset(self.ids), ran)


@dataclass(frozen=True)
class Escalation:
    """A stronger explainer, for the features whose outcome is doubtful."""

    loop: "Loop"
    is_doubtful: Callable[[Outcome], bool]
    """Raises LogError."""


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
    paying: Mapping[str, int] = field(default_factory=dict)
    """Most rounds by the grade of a feature's first evidence, where another one does not pay."""
    purpose: str = PURPOSE
    """The purpose of its calls."""
    escalation: Escalation | None = None

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
        work = Progress(feature, self.planner.first(feature), self.rounds)
        if self.asker is None:
            await self._evidence(feature, 1, work.plan.requests)
            return Outcome(feature=feature, status="probed", rounds=1)
        found = await self._answered(work)
        if self.escalation is None or not await asyncio.to_thread(self.escalation.is_doubtful, found):
            return found
        return await self.escalation.loop.second_look(work, found)

    async def second_look(self, work: Progress, before: Outcome) -> Outcome:
        """Goes on where a weaker explainer has ended, with the evidence that it had. Raises errors that end the run."""
        work.rounds = len(work.past) + self.rounds
        found = await self._answered(work)
        said = EarlierOutcome(before.status, before.label, before.confidence, before.rounds)
        return found.model_copy(update={"before": said})

    async def _answered(self, work: Progress) -> Outcome:
        """Asks round after round until there is an outcome; then `work` is as another explainer can go on with it."""
        assert self.asker is not None
        while True:
            await self._probe(work)
            answer = await self.asker.ask(self._request(work))
            proposal, plan = await self._chosen(work, answer.proposal)
            check = await self._check(work, proposal)
            last = work.number == work.rounds or proposal is None or proposal.action == "abstain"
            if proposal is None or last or (proposal.action == "label" and is_good(check)):
                found = outcome(work.findings, work.past, answer, proposal, check)
                work.plan = plan
                if proposal is not None:
                    work.past.append(Round(work.pieces, proposal, plan, check))
                return found
            work.plan = plan if plan.requests else next_plan(self.planner, work.feature, proposal, work.tried)
            work.past.append(Round(work.pieces, proposal, work.plan, check))

    async def _probe(self, work: Progress) -> None:
        """Probes the planned round and keeps only the lines of its evidence: thousands of features may wait."""
        if not work.plan.requests:
            return
        evidence = await self._ran(work, work.number, work.plan.requests)
        work.pieces = digest(evidence, self.card.default_scale, first=_next_id(work.pieces))
        work.ids.update(line["id"] for piece in work.pieces for line in citable(piece))
        work.tried += work.plan.requests
        if work.number == 1:
            work.rounds = min(self.rounds, self.paying.get(grade_of(work.pieces), self.rounds))

    async def _chosen(self, work: Progress, proposal: Proposal | None) -> tuple[Proposal | None, RoundPlan]:
        """Returns the answer with its best candidate as the label, and the plan that ran the candidates' texts.

        The candidates' texts are evidence of the next round, in which they are shown if there is one.
        """
        plan = RoundPlan() if proposal is None else candidates_plan(self.planner, work.feature, proposal, work.tried)
        if proposal is None or not plan.requests:
            return proposal, RoundPlan()
        for item in await self._ran(work, work.number + 1, plan.requests):
            if isinstance(item, Experiment):
                proposal = best_candidate(proposal, item)
        return proposal, plan

    async def _ran(self, work: Progress, number: int, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the evidence of a round and keeps its experiments."""
        evidence = await self._evidence(work.feature, number, requests)
        work.experiments[number] = [item for item in evidence if isinstance(item, Experiment)]
        return evidence

    async def _check(self, work: Progress, proposal: Proposal | None) -> Check | None:
        if self.feedback is None or proposal is None or proposal.action != "label":
            return None
        return await self.feedback.check(work.feature, work.number, proposal)

    async def _evidence(self, feature: int, number: int, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the round's evidence as logged, probed first if need be.

        Always as logged: storing rounds a little, and a prompt must read the same when the run is resumed or replayed.
        """
        if not self.log.read(has_evidence, self.run_id, feature, number):
            evidence = await self.prober.probe(requests)
            # encoding is work: not on the event loop
            rows = await asyncio.to_thread(evidence_rows, self.run_id, feature, number, evidence)
            await asyncio.wrap_future(self.log.write(add_evidence, rows))
        return self.log.read(evidence_of, self.run_id, feature, number)

    def _request(self, work: Progress) -> Request:
        feature, number, pieces = work.feature, work.number, work.pieces
        context = {
            "feature": feature,
            "subject": _subject(self.card),
            "round": number,
            "rounds": work.rounds,
            "last": number == work.rounds,
            "second": self.purpose == SECOND,
            "evidence": [*pieces],
            "table": table(pieces),
            "looks_at_texts": self.material is not None,
            "texts": None if self.material is None else self.material.texts(feature),
            "in_context": ACTIVE_SHARE,
            "graph": None if self.circuit is None else self.circuit.part(feature),
            "experiments": self.planner.tests,
            "can_test": self.planner.tests and number < work.rounds,
            "candidates": self.planner.candidates,
            "history": [_history(position, round_) for position, round_ in enumerate(work.past, start=1)],
        }
        prompt = render("explain", context)
        return Request(
            feature=feature,
            round=number,
            purpose=self.purpose,
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
        "exponent": f"{planner.probe.tokens.exponent:g}",
        "looks_at_texts": looks_at_texts,
        "sweeps": planner.sweeps,
        "defines": planner.probe.tokens.define > 0,
        "tests": planner.tests,
        "candidates": planner.candidates,
        "candidate_texts": TEXTS,
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


def _history(number: int, round_: Round) -> dict[str, Any]:
    change = round_.proposal.settings
    asked = {} if change is None else change.model_dump(mode="json", exclude_none=True)
    return {
        "round": number,
        "evidence": round_.pieces if round_.plan.requests else [],
        "asked": {
            name: escaped(value, OWN_WORDS_CHARS) if isinstance(value, str) else value for name, value in asked.items()
        },
        "action": round_.proposal.action,
        "n_texts": sum(len(request.texts) for request in round_.plan.requests),
        "reason": escaped(round_.proposal.reason, OWN_WORDS_CHARS),
        "notes": [escaped(note) for note in round_.plan.notes],
        "refusal": escaped(round_.plan.refusal, OWN_WORDS_CHARS),
        "label": escaped(round_.proposal.label, OWN_WORDS_CHARS),
        "check": None if round_.check is None else round_.check.model_dump(mode="json"),
    }
