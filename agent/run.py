"""A run over many features: a bounded crew works through them, and the log decides what is still to do.

Memory does not grow with the number of features.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from agent.breaker import Breaker
from agent.calls.admission import Admission
from agent.calls.asking import RETRY_POLICY, Asker, RetryPolicy
from agent.calls.batches import Batches
from agent.calls.budget import Limits, SpendingBudget
from agent.calls.gate import Gate
from agent.calls.workers import work_through
from agent.config import RunConfig
from agent.known_evidence import KnownEvidence
from agent.llm.base import Explainer
from agent.log.calls import spent_by, was_asked
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from agent.log.runs import RunRow, finish_run
from agent.loop import PURPOSE, SECOND, Escalation, Loop, system_prompt
from agent.pool.pool import DEPTH, Pool
from agent.pool.resident import loaded_from
from agent.pool.workers import Workforce
from agent.prober import DevicePool, DeviceThread, Prober
from agent.run_spec import EscalationSpec, RunSpec, questions_to
from agent.schema import Ending, Outcome
from probes.errors import InterpretError
from probes.probe import run_probes

LOOKAHEAD = 64
"""Most features in progress beyond the calls in flight: their evidence is made while the others wait for answers, so
that even where all answers come at once there is something to ask next."""
SHARE = 64
"""Most features in a batch for one of several workers."""


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
    spec: RunSpec,
    log: RunLog,
    features: Sequence[int],
    new: bool,
    observer: RunObserver,
    retry_policy: RetryPolicy = RETRY_POLICY,
    tell: Callable[[str], None] = lambda _: None,
    workforce: Workforce | None = None,
) -> RunReport:
    """Labels `features`, each of which ends labelled, abstained or failed in the log before the observer hears of it.

    If the explainer is nobody, each ends with its evidence in the log, or failed. Evidence that other runs of the log
    have probed is taken from there; the rest is probed by the workers of `workforce`, or by this process if it is None.

    A run of the same identity is resumed unless `new`. Whatever ends a run early (a spent budget, a refused key, a
    fault of the log, Ctrl-C) lets the calls in flight end first, but for batches, of which `tell` hears; it is in the
    report, and the log resumes from there. Raises LogError if the run cannot be begun.
    """
    started = time.perf_counter()
    config, explainer = spec.config, spec.explainer
    run = log.begin_run(spec.identity, features, new)
    budget = partial(_budget, config, log, run.run_id)
    admission = Admission(Gate(config.in_flight), budget())
    observer.begun(run, admission)
    todo = [feature for feature in features if feature not in run.done]
    outcomes: Counter[Ending] = Counter()
    breaker = Breaker()

    batches = Batches(config, explainer, log, admission, run.run_id, None, budget, tell)
    share = min(-(-len(todo) // _n_places(workforce)) or 1, SHARE)
    try:
        async with batches, _prober(spec, admission, workforce if todo else None, share, tell) as prober:
            known = KnownEvidence.of(log, prober, spec.planner, run.run_id, spec.identity)

            def asker(asked: RunSpec) -> Asker | None:
                if asked.asks_nobody:
                    return None
                questions = questions_to(asked.explainer, config)
                return Asker(asked.explainer, log, run.run_id, admission, retry_policy, batches.sender, questions)

            loop = _loop(spec, log, run.run_id, known, asker)

            async def label(feature: int) -> None:
                outcome = await loop.label_feature(feature)
                await asyncio.wrap_future(log.write(add_label, run.run_id, outcome))
                outcomes[outcome.status] += 1
                observer.told(outcome)
                breaker.count(outcome)

            size = _crew_size(config, explainer) + (_n_places(workforce) - 1) * share
            await work_through(todo, size, batches.at_work(label), admission, observer.stopping)
    finally:
        await explainer.close()
        if spec.escalation is not None:
            await spec.escalation.spec.explainer.close()
    if admission.reason is None:
        log.write(finish_run, run.run_id).result()
    return RunReport(
        run.run_id,
        run.resumed,
        len(features) - len(todo),
        outcomes,
        known.n_taken,
        time.perf_counter() - started,
        admission.reason,
    )


@asynccontextmanager
async def _prober(
    spec: RunSpec, admission: Admission, workforce: Workforce | None, share: int, tell: Callable[[str], None]
) -> AsyncIterator[Prober]:
    """Opens a prober, with a pool of workers if there is a workforce; each batch has at most `share` features then."""
    if workforce is None:
        async with Prober(DeviceThread(partial(run_probes, spec.subject)), admission.check) as prober:
            yield prober
        return
    async with (
        Pool(workforce, loaded_from(spec.subject.card), tell) as pool,
        Prober(DevicePool(pool, run_probes), admission.check, share) as prober,
    ):
        yield prober


def _n_places(workforce: Workforce | None) -> int:
    """Returns the number of batches that are on devices, or wait there, at once."""
    return 1 if workforce is None else DEPTH * workforce.n_expected


def _loop(
    spec: RunSpec,
    log: RunLog,
    run_id: int,
    prober: KnownEvidence,
    asker_of: Callable[[RunSpec], Asker | None],
    purpose: str = PURPOSE,
) -> Loop:
    material, config, asker = spec.material, spec.config, asker_of(spec)
    escalation = None
    if spec.escalation is not None:
        second = _loop(spec.escalation.spec, log, run_id, prober, asker_of, SECOND)
        escalation = Escalation(second, partial(_is_doubtful, spec.escalation, log, run_id))
    return Loop(
        run_id=run_id,
        card=spec.subject.card,
        planner=spec.planner,
        rounds=config.rounds,
        prober=prober,
        asker=asker,
        log=log,
        system=system_prompt(spec.planner, material is not None),
        material=material,
        feedback=material.feedback(asker, config.seed) if asker and material and config.feedback else None,
        circuit=spec.circuit,
        paying=spec.paying,
        purpose=purpose,
        escalation=escalation,
    )


def _is_doubtful(escalation: EscalationSpec, log: RunLog, run_id: int, found: Outcome) -> bool:
    """Judges an outcome; one that was found doubtful before the run was cut off stays so, whatever is known since."""
    return log.read(was_asked, run_id, found.feature, SECOND) or escalation.is_doubtful(log, run_id, found)


def _budget(config: RunConfig, log: RunLog, run_id: int) -> SpendingBudget:
    """Returns the run's budget, less what earlier invocations of the run have spent."""
    spent = log.read(spent_by, run_id)
    limits = Limits(tokens=config.budget_tokens, usd=config.budget_usd)
    return SpendingBudget(limits, tokens=spent.most_tokens, usd=spent.most_usd, known_usd=spent.cost_usd or 0.0)


def _crew_size(config: RunConfig, explainer: Explainer) -> int:
    """Returns the number of features in progress at once; low without a server, as nothing waits for answers."""
    if config.batch:
        return config.in_flight
    return config.concurrency + min(config.concurrency, LOOKAHEAD) if explainer.forms else config.concurrency
