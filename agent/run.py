"""A run over many features: a bounded crew works through them, and the log decides what is still to do.

Memory does not grow with the number of features. Knows no command line and prints nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agent.asking import Asker
from agent.config import RunConfig
from agent.llm.base import Explainer
from agent.loop import Loop, system_prompt
from agent.planning import Planner
from agent.prober import Prober
from agent.runlog import RunIdentity, RunLog, RunRow
from agent.schema import Outcome, Status
from probes.probe import run_probes
from probes.settings import ProbeSettings
from probes.subject import Subject
from prompts import template_hashes

Progress = Callable[[Outcome], None]


@dataclass(frozen=True)
class RunReport:
    """What one invocation did."""

    run_id: int
    resumed: bool
    n_done_before: int
    """Features that were asked for and already had their label or abstention."""
    outcomes: Mapping[Status, int]
    """How this invocation's features ended."""
    seconds: float


async def run_features(
    config: RunConfig,
    subject: Subject,
    explainer: Explainer,
    log: RunLog,
    features: Sequence[int],
    new: bool,
    progress: Progress,
    begun: Callable[[RunRow], None] = lambda _: None,
) -> RunReport:
    """Labels `features`, each of which ends labelled, abstained or failed in the log before `progress` hears of it.

    `begun` is told once, before any work, which run it is and what of it was done before.

    A run of the same identity is resumed unless `new`. Cancelling leaves a log that resumes. Raises LogError,
    ExplainerError and SubjectError; whatever was logged before stays.
    """
    started = time.perf_counter()
    probe = resolved(config.probe, subject.card.default_scale)
    run = log.begin_run(_identity(config, probe, subject, explainer), features, new)
    begun(run)
    todo = [feature for feature in features if feature not in run.done]
    outcomes: Counter[Status] = Counter()
    async with Prober(partial(run_probes, subject)) as prober:
        loop = Loop(
            run_id=run.run_id,
            card=subject.card,
            planner=Planner(probe, config.weights_plan, subject.card.default_scale),
            rounds=config.rounds,
            prober=prober,
            asker=Asker(explainer, log, run.run_id),
            log=log,
            system=system_prompt(),
        )
        await _work(loop, todo, config.concurrency, lambda outcome: _tell(outcome, outcomes, progress))
    log.finish_run(run.run_id)
    return RunReport(run.run_id, run.resumed, len(features) - len(todo), outcomes, time.perf_counter() - started)


def resolved(probe: ProbeSettings, default_scale: float) -> ProbeSettings:
    """`probe` with the subject's own scale where it names none: what a run's identity and its evidence hold."""
    scale = probe.vector.scale or default_scale
    return probe.model_copy(update={"vector": probe.vector.model_copy(update={"scale": scale})})


def _identity(config: RunConfig, probe: ProbeSettings, subject: Subject, explainer: Explainer) -> RunIdentity:
    settings: dict[str, Any] = {
        "probe": probe.model_dump(mode="json"),
        "weights_plan": [*config.weights_plan],
        "rounds": config.rounds,
    }
    return RunIdentity(
        subject=subject.card,
        settings=settings,
        explainer=f"{explainer.provider}:{explainer.model}",
        templates=template_hashes(),
    )


def _tell(outcome: Outcome, outcomes: Counter[Status], progress: Progress) -> None:
    outcomes[outcome.status] += 1
    progress(outcome)


async def _work(loop: Loop, features: Sequence[int], concurrency: int, progress: Progress) -> None:
    """A crew of at most `concurrency` workers takes features from one iterator until it is empty or one raises."""
    waiting = iter(features)
    try:
        async with asyncio.TaskGroup() as crew:
            for _ in range(min(concurrency, len(features))):
                crew.create_task(_worker(loop, waiting, progress))
    except ExceptionGroup as group:  # all fell with the first; one sentence is enough for the user
        raise group.exceptions[0] from None


async def _worker(loop: Loop, waiting: Iterator[int], progress: Progress) -> None:
    for feature in waiting:
        outcome = await loop.label_feature(feature)
        await asyncio.wrap_future(loop.log.add_label(loop.run_id, outcome))
        progress(outcome)
