"""Runs with random budgets against a server that bills: none is exceeded, and the log's sums are the server's.

    python -m tests.bench.budget_runs --runs 200

Each run has a budget in tokens, in dollars, or both, anywhere between nothing and more than enough; random faults
(rate limits, overload, unusable answers), random concurrency, and random lengths of answers. Half of the runs are
started a second time with the same budget, which must not add to it. The probes are fake; SDKs and log are real.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from genai_prices import Usage as Priced
from genai_prices import calc_price

from agent.calls.asking import RetryPolicy
from agent.calls.budget import Limits
from agent.config import RunConfig
from agent.errors import BudgetError
from agent.llm import make_explainer
from agent.log.calls import Spent, spent_by
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from tests.fakes import SUBJECT, FakeProbes, Notes
from tests.llm_script import Asked, Reply, labelling
from tests.llm_server import LLMServer

MODELS = {"anthropic": "claude-haiku-5-5", "openai": "gpt-6-luna"}
QUICK = RetryPolicy(attempts=8, first_wait_s=0.001, max_wait_s=0.004)
N_FEATURES = 12


@dataclass(frozen=True)
class Billed:
    """One run: what it was allowed, what the server billed, what the log says."""

    limits: Limits
    tokens: int
    usd: float
    logged: Spent
    stopped: bool
    """Whether the budget ended it."""

    @property
    def within(self) -> bool:
        """Tells whether no limit was exceeded by what the server billed."""
        tokens, usd = self.limits.tokens, self.limits.usd
        return (tokens is None or self.tokens <= tokens) and (usd is None or self.usd <= usd)

    @property
    def agrees(self) -> bool:
        """Tells whether the log's sums are the server's, to a millionth of a cent."""
        return self.logged.tokens == self.tokens and abs((self.logged.cost_usd or 0.0) - self.usd) < 1e-8


def one_run(seed: int, folder: Path) -> Billed:
    """A run drawn by its seed."""
    chance = random.Random(seed)
    provider = chance.choice(list(MODELS))
    limits = _limits(chance)
    settings = {"concurrency": chance.choice([1, 3, 16]), "budget_tokens": limits.tokens, "budget_usd": limits.usd}
    config = RunConfig.parse({**settings, "answer_tokens": 512})
    stopped = False
    with LLMServer(_faulty(chance), [MODELS[provider]]) as server, RunLog.open(folder / f"{seed}.db") as log:
        for _ in range(chance.choice([1, 2])):
            explainer = make_explainer(f"{provider}:{MODELS[provider]}", server.base_url(provider), 512)
            explainer.address = ""  # its prices are the provider's own
            run = run_features(RunSpec(config, SUBJECT, explainer), log, range(N_FEATURES), False, Notes(), QUICK)  # type: ignore[arg-type]
            with patch("agent.run.run_probes", FakeProbes()):
                report = asyncio.run(run)
            stopped = isinstance(report.stopped, BudgetError)
            assert report.stopped is None or stopped, report.stopped
        logged = log.read(spent_by, report.run_id)
    usd = sum(_price(provider, one.input_tokens, one.output_tokens) for one in server.history if one.input_tokens)
    return Billed(limits, sum(server.tokens), usd, logged, stopped)


def _limits(chance: random.Random) -> Limits:
    kind = chance.choice(["tokens", "usd", "both"])
    tokens = chance.randrange(90_000) if kind != "usd" else None
    usd = chance.uniform(0, 0.04) if kind != "tokens" else None
    return Limits(tokens, usd)


def _faulty(chance: random.Random) -> Callable[[Asked], Reply]:
    def script(asked: Asked) -> Reply:
        luck = chance.random()
        if luck < 0.1:
            return Reply("slow down", chance.choice([429, 500, 529]))
        if luck < 0.2:
            return Reply("x" * chance.randrange(4000))
        return labelling(asked)

    return script


def _price(provider: str, input_tokens: int, output_tokens: int) -> float:
    """By the price list; nothing is cached here."""
    usage = Priced(input_tokens=input_tokens, output_tokens=output_tokens)
    return float(calc_price(usage, MODELS[provider], provider_id=provider).total_price)


def main() -> None:
    """Runs and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs = [one_run(seed, Path(name)) for seed in range(asked.runs)]
    print(f"{len(runs)} runs, {sum(run.stopped for run in runs)} of them ended by their budget")
    print(f"exceeded   {sum(not run.within for run in runs)}")
    print(f"log = server in tokens and dollars   {sum(run.agrees for run in runs)} of {len(runs)}")
    print(f"billed altogether   {sum(run.tokens for run in runs):,} tokens, ${sum(run.usd for run in runs):.4f}")


if __name__ == "__main__":
    main()
