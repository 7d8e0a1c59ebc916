"""A case worked through: a whole run with the real SDK against the loopback server, and again when that is well."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

import agent.cli.commands.run
import agent.run
from agent.calls.asking import RetryPolicy
from agent.cli import main
from agent.llm import make_explainer
from agent.log.calls import CallRow, calls_of
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from agent.replay import Verdict, replay
from agent.run import RunReport, run_features
from agent.run_spec import RunSpec
from eval.scoring.shown_examples import CorpusExamples
from tests.fakes import SUBJECT, FakeProbes, Notes, config
from tests.fault_cases import ATTEMPTS, FEATURES, Case
from tests.llm_script import Asked, Reply, Script, Served, labelling
from tests.llm_server import LLMServer
from tests.subjects import write_model, write_sae

QUICK = RetryPolicy(attempts=ATTEMPTS, first_wait_s=0.001, max_wait_s=0.002, max_unanswered=2)
CONCURRENCY = 3
VARIABLES = ("API_KEY", "AUTH_TOKEN", "BASE_URL", "LOG", "CUSTOM_HEADERS")
_DEADLINE_S = 20.0


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """These variables, and no others that the SDKs read."""
    # To read the machine's certificates takes longer than a run, and nothing here is encrypted.
    with mock.patch.dict(os.environ, {**variables, "SSL_CERT_DIR": str(Path(__file__).parent)}):
        os.environ.pop("SSL_CERT_FILE", None)
        for name in (*(f"{of}_{what}" for of in ("ANTHROPIC", "OPENAI") for what in VARIABLES), *_PROXIES):
            if name not in variables:
                os.environ.pop(name, None)
        yield


_PROXIES = [name for scheme in ("http", "https", "all") for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper())]


@dataclass
class Desk:
    """A script that keeps what it was asked, as it arrives, and what it had done about it."""

    script: Script
    leaves: LLMServer | None = None
    leaves_after: int | None = None
    dealt: list[tuple[Asked, Reply]] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Reply:
        reply = self.script(asked)
        self.dealt.append((asked, reply))
        if self.leaves is None or self.leaves_after is None:
            return reply
        if len(self.dealt) == self.leaves_after:
            self.leaves.leave()
        return replace(reply, headers={"Connection": "close"})


class LeavingServer(LLMServer):
    """A server that can be gone from one moment to the next."""

    def leave(self) -> None:
        """Nothing listens any more."""
        self._http.shutdown()
        self._http.server_close()


@dataclass(frozen=True)
class Visit:
    """One invocation of the run."""

    note: str
    """Of the preflight."""
    report: RunReport
    labels: Sequence[LabelRow]
    calls: Sequence[CallRow]
    """Of this invocation and those before."""
    dealt: Sequence[tuple[Asked, Reply, Served | None]]
    """What reached the server in this invocation; None where it was still busy with it at the end."""


@dataclass(frozen=True)
class Worked:
    """The outcome of a case."""

    struck: Visit
    well: Visit
    """The same command once more, against a server that answers."""
    verdicts: Sequence[Verdict]
    """Of a replay of it all, feature by feature."""


def work(case: Case, provider: str, path: Path) -> Worked:
    """Both invocations, logged at `path`."""
    with environment(), mock.patch.object(agent.run, "run_probes", FakeProbes()), ExitStack() as stack:
        server = stack.enter_context(LeavingServer(labelling, listing=case.listing))
        desk = Desk(case.script, server, case.leaves_after)
        struck = _visit(server, desk, provider, path, case.timeout_s)
        if case.leaves_after is not None:
            port = int(server.url.rpartition(":")[2])
            server = stack.enter_context(LeavingServer(labelling, port=port))
        return Worked(struck, _visit(server, Desk(labelling), provider, path), replayed(path))


def replayed(path: Path, run_id: int = 1) -> list[Verdict]:
    """Returns how each label of a run comes out of its log."""
    with RunLog.open(path, read_only=True) as log:
        return [feature.verdict for feature in asyncio.run(replay(log, log.read(chosen_run, run_id), CorpusExamples))]


def _visit(server: LLMServer, desk: Desk, provider: str, path: Path, timeout_s: float = 60.0) -> Visit:
    server.script = desk
    explainer = make_explainer(f"{provider}:model-a", server.base_url(provider), timeout_s=timeout_s)
    note = explainer.check()
    settings = config(concurrency=CONCURRENCY)
    with RunLog.open(path) as log:
        report = asyncio.run(run_features(RunSpec(settings, SUBJECT, explainer), log, FEATURES, False, Notes(), QUICK))
        calls = [call for feature in FEATURES for call in log.read(calls_of, report.run_id, feature)]
        return Visit(note, report, log.read(labels_of, report.run_id), calls, _served(server, desk))


def _served(server: LLMServer, desk: Desk) -> list[tuple[Asked, Reply, Served | None]]:
    """What was dealt with and how it was served, as soon as the server has noted all but what it is asleep over."""
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        served = {id(one.asked): one for one in [*server.history]}
        dealt = [(asked, reply, served.get(id(asked))) for asked, reply in desk.dealt]
        if all(one is not None or reply.delay_s for _, reply, one in dealt) or time.monotonic() > deadline:
            return dealt
        time.sleep(0.005)


@dataclass(frozen=True)
class Ran:
    """The output of one command, and its exit status."""

    status: int
    out: str
    err: str


Interpret = Callable[..., Ran]


def commands(capture: pytest.CaptureFixture[str]) -> Interpret:
    """Runs the command line in this process, patient for milliseconds only."""

    def interpret(*arguments: str) -> Ran:
        capture.readouterr()
        quick = partial(run_features, retry_policy=QUICK)
        with mock.patch.object(agent.cli.commands.run, "run_features", quick), pytest.raises(SystemExit) as ended:
            main(arguments)
        printed = capture.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return interpret


def subject_options(folder: Path) -> list[str]:
    """The options that name a tiny subject, written to `folder`, and make little of each of its features."""
    model, sae = write_model(folder / "model"), write_sae(folder / "sae")
    small = ["--cutoff", "0.02", "--max-depth", "4", "--top-n", "10", "--rounds", "2"]
    return ["--model", str(model), "--sae", str(sae), "--device", "cpu", *small]
