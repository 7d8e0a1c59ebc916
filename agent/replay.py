"""Works a run out again from its log alone: evidence and answers are read back, nothing is probed or asked.

What comes out must be what came out then; where it is not, this version would label otherwise from the same answers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agent.calls.asking import asked_again, last_answer
from agent.errors import LogError
from agent.llm.base import Answer, Request
from agent.log.calls import attempts_of, calls_of, was_asked
from agent.log.examples import find_corpus
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.loop import PURPOSE, SECOND, Escalation, Loop, Material, system_prompt
from agent.maxima import CorpusMaxima
from agent.planning import Planner
from agent.schema import Outcome
from probes.evidence import Evidence, ProbeRequest
from probes.presets import SubjectCard
from probes.settings import PLAIN_PROMPTS, ProbeSettings
from prompts import template_hashes

_GRAPH = re.compile("<graph>.*?</graph>", re.DOTALL)
"""Tags that nothing between them can forge: angle brackets of texts are escaped."""

MaterialOf = Callable[[RunLog, int], Material]
"""Makes what a run may show out of the log and the number of a corpus there."""
Verdict = Literal["identical", "different", "not asked"]
"""`not asked`: it failed before there was anything to ask, so nothing of it can be replayed."""


@dataclass(frozen=True)
class ReplayedLabel:
    """One feature's stored label beside the new one."""

    stored: LabelRow
    again: Outcome | None
    """The new label; None if no explainer was asked."""
    calls: int
    """Answers taken from the log."""
    prompts_alike: bool
    """True if every prompt reads as it did then."""

    @property
    def verdict(self) -> Verdict:
        """Compares the stored label with the new one."""
        if self.again is None:
            return "not asked"
        return "different" if self.differences else "identical"

    @property
    def differences(self) -> dict[str, tuple[object, object]]:
        """Returns the fields that differ, by name: the stored value and the new one."""
        if self.again is None:
            return {}
        pairs = {name: (getattr(self.stored, name), getattr(self.again, name)) for name in Outcome.model_fields}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class _NoDevice:
    """Takes the prober's place: a replay finds all of its evidence in the log."""

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        raise LogError(f"The log lacks evidence on feature {requests[0].feature} that its run went on from.")


class _LoggedAnswers:
    """Answers requests with the logged answers."""

    def __init__(self, log: RunLog, run_id: int) -> None:
        self._log = log
        self._run_id = run_id
        self.calls = 0
        self.prompts_alike = True

    async def ask(self, request: Request) -> Answer:
        attempts = self._log.read(attempts_of, self._run_id, request)
        answer = last_answer(attempts, request)
        if answer is None:
            raise LogError(f"The log lacks the answer on feature {request.feature} in round {request.round}.")
        self.calls += 1
        errors = [call.error for call in attempts if call.error]
        possible = {request.prompt, *(asked_again(request, error).prompt for error in errors)}
        self.prompts_alike &= all(call.prompt in possible and call.system == request.system for call in attempts)
        return answer


@dataclass(frozen=True)
class _LoggedCircuit:
    """Reads a graph's part of the prompts back from the logged prompts."""

    log: RunLog
    run_id: int

    def part(self, feature: int) -> str | None:
        prompts = (call.prompt for call in self.log.read(calls_of, self.run_id, feature))
        return next((match[0] for prompt in prompts if (match := _GRAPH.search(prompt))), None)


async def replay(log: RunLog, run: RunSummary, material_of: MaterialOf) -> list[ReplayedLabel]:
    """Works every label of the run out again. Raises LogError where the log lacks what the run went on from."""
    return [await _feature(log, run, row, material_of) for row in log.read(labels_of, run.run_id)]


def changed_templates(run: RunSummary) -> list[str]:
    """Returns the templates that have changed since the run was begun."""
    now = template_hashes([*run.templates])
    return [name for name, then in run.templates.items() if then != now[name]]


async def _feature(log: RunLog, run: RunSummary, row: LabelRow, material_of: MaterialOf) -> ReplayedLabel:
    if not log.read(calls_of, run.run_id, row.feature):
        return ReplayedLabel(row, None, 0, True)
    asker = _LoggedAnswers(log, run.run_id)
    outcome = await _loop(log, run, run.settings, asker, material_of).label_feature(row.feature)
    return ReplayedLabel(row, outcome, asker.calls, asker.prompts_alike)


def _loop(
    log: RunLog,
    run: RunSummary,
    settings: Mapping[str, Any],
    asker: _LoggedAnswers,
    material_of: MaterialOf,
    purpose: str = PURPOSE,
) -> Loop:
    card = SubjectCard.model_validate(run.subject)
    probe = ProbeSettings.model_validate(settings["probe"])
    corpus_id = _corpus(log, run, settings, "corpus")
    material = None if corpus_id is None else material_of(log, corpus_id)
    maxima_id = _corpus(log, run, settings, "maxima_corpus")
    maxima = None if maxima_id is None else CorpusMaxima(log, maxima_id)
    agreement = settings.get("agreement", False)
    prompts = settings.get("prompts", PLAIN_PROMPTS)
    tests = settings.get("tests", False)
    candidates = settings.get("candidates", 1)
    plan = settings["weights_plan"]
    planner = Planner(probe, plan, card.default_scale, maxima, agreement, prompts, tests, candidates)
    escalation = _escalation(log, run, settings, asker, material_of)
    return Loop(
        run_id=run.run_id,
        card=card,
        planner=planner,
        rounds=settings["rounds"],
        prober=_NoDevice(),
        asker=asker,
        log=log,
        system=system_prompt(planner, material is not None),
        material=material,
        feedback=material.feedback(asker, settings["seed"]) if material and settings["feedback"] else None,
        circuit=_LoggedCircuit(log, run.run_id) if "graph" in settings else None,
        paying=settings.get("paying", {}),
        purpose=purpose,
        escalation=escalation,
    )


def _escalation(
    log: RunLog, run: RunSummary, settings: Mapping[str, Any], asker: _LoggedAnswers, material_of: MaterialOf
) -> Escalation | None:
    """Returns the stronger explainer's loop, for the features that it was asked about; None if there was none."""
    second = settings.get("escalation")
    if second is None:
        return None
    loop = _loop(log, run, second["settings"], asker, material_of, SECOND)
    return Escalation(loop, lambda found: log.read(was_asked, run.run_id, found.feature, SECOND))


def _corpus(log: RunLog, run: RunSummary, settings: Mapping[str, Any], name: str) -> int | None:
    """Returns this log's id of the corpus that the settings name. Raises LogError if the log lacks it."""
    identity = settings.get(name)
    found = None if identity is None else log.read(find_corpus, identity)
    if identity is not None and found is None:
        raise LogError(f"The log lacks the examples that run {run.run_id} used (corpus {identity[:12]}).")
    return found
