"""A run over many features: a bounded crew works through them, and the log decides what is still to do.

Memory does not grow with the number of features.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from agent.breaker import Breaker
from agent.calls.admission import Admission
from agent.calls.asking import RETRY_POLICY, Asker, RetryPolicy
from agent.calls.batches import Batches
from agent.calls.budget import Limits, SpendingBudget
from agent.calls.gate import Gate
from agent.calls.questions import Questions
from agent.calls.workers import work_through
from agent.config import RunConfig
from agent.known_evidence import KnownEvidence
from agent.llm.base import Explainer
from agent.llm.none import NONE
from agent.loop import TEMPLATES, Circuit, Loop, Material, system_prompt
from agent.maxima import CorpusMaxima
from agent.planning import Planner
from agent.prober import Prober
from agent.runlog import RunIdentity, RunLog, RunRow
from agent.schema import Ending, Outcome
from probes.errors import InterpretError
from probes.ghost.base_prompt import all_resolved, offered_prompts
from probes.probe import run_probes
from probes.settings import PLAIN_PROMPTS
from probes.subject import Subject
from prompts import template_hashes

LOOKAHEAD = 64
"""Most features in progress beyond the calls in flight: their evidence is made while the others wait for answers, so
that even where all answers come at once there is something to ask next."""


class RunObserver(Protocol):
    """An observer of a run, called on the event loop: it must not take long."""

    def begun(self, run: RunRow, admission: Admission) -> None:
        """Called once before any work, with the run's id and the admission of its calls."""
        ...

    def told(self, outcome: Outcome) -> None:
        """Called for each finished feature, after it is in the log."""
        ...

    def stopping(self, reason: InterpretError) -> None:
        """Called when nothing new will be started."""
        ...


class LoggedCircuit(Circuit, Protocol):
    """A graph that is logged in the run's settings."""

    @property
    def settings(self) -> dict[str, Any]:
        """Returns the settings that identify the graph."""
        ...


@dataclass(frozen=True)
class RunReport:
    """The report of one invocation."""

    run_id: int
    resumed: bool
    n_done_before: int
    """Number of features asked for that already had a label or an abstention."""
    outcomes: Mapping[Ending, int]
    """Outcomes of this invocation's features."""
    n_known: int
    """Number of pieces of evidence taken from other runs of the log."""
    seconds: float
    stopped: InterpretError | None
    """The reason for an early end; None if all features were done."""


async def run_features(
    config: RunConfig,
    subject: Subject,
    explainer: Explainer,
    log: RunLog,
    features: Sequence[int],
    new: bool,
    observer: RunObserver,
    retry_policy: RetryPolicy = RETRY_POLICY,
    material: Material | None = None,
    maxima: CorpusMaxima | None = None,
    tell: Callable[[str], None] = lambda _: None,
    circuit: LoggedCircuit | None = None,
) -> RunReport:
    """Labels `features`, each of which ends labelled, abstained or failed in the log before `observer` hears of it.

    Where the explainer is nobody, each ends with its evidence in the log, or failed. What other runs of the log have
    probed is taken from there.

    A run of the same identity is resumed unless `new`. Whatever ends a run early (a spent budget, a refused key, a
    fault of the log, Ctrl-C) lets the calls in flight end first, but for batches, of which `tell` hears; it is in the
    report, and the log resumes from there. Raises LogError where the run cannot be begun.
    """
    started = time.perf_counter()
    identity = identity_of(config, subject, explainer, material, maxima, circuit)
    run = log.begin_run(identity, features, new)
    budget = partial(_budget, config, log, run.run_id)
    admission = Admission(Gate(config.in_flight), budget())
    observer.begun(run, admission)
    todo = [feature for feature in features if feature not in run.done]
    outcomes: Counter[Ending] = Counter()
    breaker = Breaker()

    batches = Batches(config, explainer, log, admission, run.run_id, None, budget, tell)
    try:
        async with batches, Prober(partial(run_probes, subject), admission.check) as prober:
            asker = None
            if explainer.provider != NONE:
                questions = questions_to(explainer, config)
                asker = Asker(explainer, log, run.run_id, admission, retry_policy, batches.sender, questions)
            planner = planner_of(config, subject, explainer, maxima)
            known = KnownEvidence.of(log, prober, planner, run.run_id, identity)
            loop = Loop(
                run_id=run.run_id,
                card=subject.card,
                planner=planner,
                rounds=config.rounds,
                prober=known,
                asker=asker,
                log=log,
                system=system_prompt(planner, material is not None),
                material=material,
                feedback=material.feedback(asker, config.seed) if asker and material and config.feedback else None,
                circuit=circuit,
            )

            async def label(feature: int) -> None:
                outcome = await loop.label_feature(feature)
                await asyncio.wrap_future(log.add_label(run.run_id, outcome))
                outcomes[outcome.status] += 1
                observer.told(outcome)
                breaker.count(outcome)

            size = _crew_size(config, explainer)
            await work_through(todo, size, batches.at_work(label), admission, observer.stopping)
    finally:
        await explainer.close()
    if admission.reason is None:
        log.finish_run(run.run_id)
    return RunReport(
        run.run_id,
        run.resumed,
        len(features) - len(todo),
        outcomes,
        known.n_taken,
        time.perf_counter() - started,
        admission.reason,
    )


def planner_of(
    config: RunConfig, subject: Subject, explainer: Explainer, maxima: CorpusMaxima | None = None
) -> Planner:
    """Returns the planner of a run's probes."""
    probe, prompts = all_resolved(subject, config.probe), _offered(subject, explainer)
    return Planner(
        probe,
        config.weights_plan,
        subject.card.default_scale,
        maxima,
        config.agreement,
        prompts,
        _tests(config, explainer),
        config.candidates,
    )


def _offered(subject: Subject, explainer: Explainer) -> Sequence[str]:
    """Returns the base prompts that may be asked for; none for rules, which ask for none."""
    return offered_prompts(subject) if explainer.forms else PLAIN_PROMPTS


def identity_of(
    config: RunConfig,
    subject: Subject,
    explainer: Explainer,
    material: Material | None = None,
    maxima: CorpusMaxima | None = None,
    circuit: LoggedCircuit | None = None,
) -> RunIdentity:
    """Returns a run's identity: two invocations with equal ones are one run."""
    settings: dict[str, Any] = {
        "probe": all_resolved(subject, config.probe).model_dump(mode="json"),
        "weights_plan": [*config.weights_plan],
        "rounds": 1 if explainer.provider == NONE else config.rounds,
    }
    if config.agreement:
        settings |= {"agreement": True}
    if _tests(config, explainer):
        settings |= {"tests": True}
    if config.candidates > 1 and explainer.provider != NONE:
        settings |= {"candidates": config.candidates}
    if explainer.forms:
        settings |= {"answer_tokens": config.answer_tokens, "effort": config.effort}
        settings |= {"prompts": [*_offered(subject, explainer)]}
    if maxima is not None:
        settings |= {"maxima_corpus": maxima.corpus}
    if material is not None:
        settings |= {"corpus": material.corpus, "feedback": config.feedback, "seed": config.seed}
    if circuit is not None:
        settings |= {"graph": circuit.settings}
    more = (*(("detection", "judge") if config.feedback else ()), *(("graph",) if circuit else ()))
    return RunIdentity(
        subject=subject.card,
        settings=settings,
        explainer=explainer_name(explainer),
        templates={} if explainer.provider == NONE else template_hashes([*TEMPLATES, *more]),
    )


def _tests(config: RunConfig, explainer: Explainer) -> bool:
    """Tests if the explainer may test: a language model by default, rules on request, no explainer never."""
    return explainer.provider != NONE and (bool(explainer.forms) if config.tests is None else config.tests)


def explainer_name(explainer: Explainer) -> str:
    """Returns `PROVIDER:MODEL`, with the address if it is not the provider's own; no model for no explainer."""
    name = f"{explainer.provider}:{explainer.model}" if explainer.model else explainer.provider
    return f"{name} at {explainer.address}" if explainer.address else name


def questions_to(explainer: Explainer, config: RunConfig) -> Questions | None:
    """Returns the rule by which two questions to the explainer are one; None for rules, whose answers cost nothing."""
    if not explainer.forms:
        return None
    settings = {"answer_tokens": config.answer_tokens, "effort": config.effort, "seed": config.seed}
    return Questions.to(explainer, config.cache, **settings)


def _budget(config: RunConfig, log: RunLog, run_id: int) -> SpendingBudget:
    """Returns the run's budget, less what earlier invocations of the run have spent."""
    spent = log.spent(run_id)
    limits = Limits(tokens=config.budget_tokens, usd=config.budget_usd)
    return SpendingBudget(limits, tokens=spent.most_tokens, usd=spent.most_usd, known_usd=spent.cost_usd or 0.0)


def _crew_size(config: RunConfig, explainer: Explainer) -> int:
    """Returns the number of features in progress at once; low without a server, as nothing waits for answers."""
    if config.batch:
        return config.in_flight
    return config.concurrency + min(config.concurrency, LOOKAHEAD) if explainer.forms else config.concurrency
