"""Runs in batches against the loopback server, in this process and at a pace of hundredths of a second."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import agent.run
from agent.calls import following
from agent.calls.following import Pace
from agent.llm import make_explainer
from agent.llm.models import DEFAULTS
from agent.log.batches import BatchRow, batches_of
from agent.log.calls import CallRow, calls_of
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from tests.batch_server import BatchServer
from tests.fakes import SUBJECT, FakeProbes, Notes, config
from tests.fault_runs import QUICK, environment

PACE = Pace(gather_s=0.03, first_look_s=0.01, longest_look_s=0.02, unseen_s=5.0, unlisted_s=2.0, outage_s=5.0)
FEATURES = range(6)
QUESTIONS = 9
"""Odd features have two rounds."""


@contextmanager
def quick(pace: Pace = PACE) -> Iterator[None]:
    """At this pace, and with the environment of tests."""
    keys = environment(ANTHROPIC_API_KEY="a-key-for-the-loopback", OPENAI_API_KEY="a-key-for-the-loopback")
    probes = mock.patch.object(agent.run, "run_probes", FakeProbes())
    with mock.patch.object(following, "PACE", pace), probes, keys:
        yield


@dataclass(frozen=True)
class Ran:
    """The outcome of one invocation."""

    report: RunReport
    labels: Sequence[LabelRow]
    calls: Sequence[CallRow]
    batches: Sequence[BatchRow]
    told: Sequence[str] = field(default_factory=list)

    @property
    def ends(self) -> dict[int, str]:
        return {row.feature: row.status for row in self.labels}


@dataclass(frozen=True)
class Address:
    """The address of a server, for another process."""

    url: str

    def base_url(self, provider: str) -> str:
        return self.url if provider == "anthropic" else f"{self.url}/v1"


def run_in_batches(
    server: Address | BatchServer,
    provider: str,
    path: Path,
    features: Sequence[int] = FEATURES,
    new: bool = False,
    **changes: Any,
) -> Ran:
    """One invocation, asking the provider's cheap model as if the loopback were the provider itself."""
    settings = config(**{"batch": True, "log": path, **changes})
    told: list[str] = []
    with (
        quick(),
        mock.patch.object(_hosted(provider), "own_address", server.base_url(provider)),
        RunLog.open(path) as log,
    ):
        name = f"{provider}:{DEFAULTS[provider]}"
        explainer = make_explainer(name, server.base_url(provider), timeout_s=20.0, batch=settings.batch)
        run = run_features(RunSpec(settings, SUBJECT, explainer), log, features, new, Notes(), QUICK, tell=told.append)
        report = asyncio.run(run)
        calls = [call for feature in features for call in log.read(calls_of, report.run_id, feature)]
        return Ran(report, log.read(labels_of, report.run_id), calls, log.read(batches_of, report.run_id), told)


def _hosted(provider: str) -> Any:
    from agent.llm.anthropic import Anthropic
    from agent.llm.openai import OpenAI

    return {"anthropic": Anthropic, "openai": OpenAI}[provider]
