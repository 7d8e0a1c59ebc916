"""Estimates a run's calls, tokens and dollars before anything is asked, from one round per feature to all.

A rough figure, and said to be one: the evidence is not made yet, so its share is what a round's usually takes.
"""

from dataclasses import dataclass

from agent.config import RunConfig
from agent.errors import ExplainerError
from agent.evidence.digest import CHARS_PER_TOKEN, EVIDENCE_TOKENS
from agent.llm.base import Explainer, Usage
from agent.loop import system_prompt
from agent.planning import Planner
from eval.scoring.shown_examples import CHECK_QUESTIONS

FRAME_TOKENS = 200
"""What a prompt holds besides its evidence, about: headings, the history of earlier rounds."""
ANSWER_TOKENS = 250
"""What an answer takes without thinking, about."""
_DOLLARS = ("${:,.2f}", "${:,.4f}")
"""From a dollar on, and below."""


@dataclass(frozen=True)
class CostEstimate:
    """The lowest and highest number of calls, tokens and dollars, if no question is repeated."""

    calls: tuple[int, int]
    tokens: tuple[int, int]
    cost_usd: tuple[float, float] | None
    """None if no price is known."""

    def __str__(self) -> str:
        dollars = "no price known" if self.cost_usd is None else _range(_DOLLARS[self.cost_usd[1] < 1], self.cost_usd)
        return f"{_range('{:,}', self.calls)} calls, about {_range('{:,}', self.tokens)} tokens, {dollars}"


def estimate(
    config: RunConfig, explainer: Explainer, planner: Planner, n_features: int, looks_at_texts: bool
) -> CostEstimate:
    """Estimates the calls for `n_features` features, each asked about in 1 to as many rounds as the config has.

    With feedback a round takes further questions; these are taken to be as long as its own.
    """
    system = system_prompt(planner, looks_at_texts)
    questions = 1 + CHECK_QUESTIONS * config.feedback
    usage = Usage(len(system) // CHARS_PER_TOKEN + EVIDENCE_TOKENS + FRAME_TOKENS, ANSWER_TOKENS)
    tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
    price = explainer.cost_usd(usage)
    fewest, most = n_features * questions, n_features * config.rounds * questions
    return CostEstimate(
        calls=(fewest, most),
        tokens=(fewest * tokens, most * tokens),
        cost_usd=None if price is None else (fewest * price, most * price),
    )


def estimate_of(explainer: Explainer, calls: int, prompt_tokens: int) -> CostEstimate:
    """Estimates the price of that many calls with that many tokens altogether."""
    usage = Usage(prompt_tokens, calls * ANSWER_TOKENS)
    tokens, price = prompt_tokens + calls * ANSWER_TOKENS, explainer.cost_usd(usage)
    return CostEstimate((calls, calls), (tokens, tokens), None if price is None else (price, price))


def check_budget(config: RunConfig, explainer: Explainer) -> None:
    """Raises ExplainerError if a limit in dollars could not be kept."""
    if config.budget_usd is not None and explainer.forms and explainer.cost_usd(Usage(1, 1)) is None:
        raise ExplainerError(
            f"No price is known for {explainer.model} at {explainer.address or 'its provider'}, so --budget-usd cannot "
            "be kept; limit the run with --budget-tokens instead."
        )


def batch_words(config: RunConfig) -> str:
    """Returns a remark on the price of batches; empty without them."""
    return ", at half price in batches" if config.batch else ""


def budget_words(config: RunConfig) -> str:
    """Returns a remark on the budget's limits; empty without them."""
    limits = []
    if config.budget_usd is not None:
        limits.append(f"${config.budget_usd:,.10g}")
    if config.budget_tokens is not None:
        limits.append(f"{config.budget_tokens:,} tokens")
    return f"; never more than {' and '.join(limits)}" if limits else ""


def _range(form: str, bounds: tuple[float, float]) -> str:
    low, high = (form.format(bound) for bound in bounds)
    return low if low == high else f"{low} to {high}"
