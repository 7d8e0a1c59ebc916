"""What a run may spend and what it has: bookkeeping only, nothing waits here.

Whatever is in flight counts at the most it can use, so that the limits hold whatever the answers turn out to cost; and
so does a call of which no figures are known. Knows no provider and no log.
"""

from dataclasses import dataclass

from agent.errors import BudgetError
from agent.llm.base import Bound, Exchange


@dataclass(frozen=True)
class Limits:
    """The most that a run may spend altogether; None where there is no limit."""

    tokens: int | None = None
    usd: float | None = None


@dataclass
class SpendingBudget:
    """Spending against its limits."""

    limits: Limits = Limits()
    tokens: int = 0
    """Used, at the most it can be."""
    usd: float = 0.0
    reserved_tokens: int = 0
    """Of the calls in flight."""
    reserved_usd: float = 0.0
    known_usd: float = 0.0
    """Sum of the costs that are known."""

    def fits(self, bound: Bound) -> bool:
        """Whether a call of that size would stay within the limits, come what may."""
        return not (self._over_tokens(bound) or self._over_usd(bound))

    def reserve(self, bound: Bound) -> None:
        """Sets aside the most that a call can use."""
        self.reserved_tokens += bound.tokens
        self.reserved_usd += bound.cost_usd or 0.0

    def settle(self, bound: Bound, exchange: Exchange | None) -> None:
        """Puts what a call used in the place of what was set aside; all of it where that is not known."""
        self.reserved_tokens -= bound.tokens
        self.reserved_usd -= bound.cost_usd or 0.0
        if exchange is not None and not exchange.charged:
            return
        used = None if exchange is None else exchange.usage
        known = used is not None and used.input_tokens is not None and used.output_tokens is not None
        self.tokens += (used.input_tokens or 0) + (used.output_tokens or 0) if used and known else bound.tokens
        cost = None if exchange is None else exchange.cost_usd
        self.usd += (bound.cost_usd or 0.0) if cost is None else cost
        self.known_usd += cost or 0.0

    def refusal(self, bound: Bound) -> BudgetError:
        """Why a call of that size may not be sent although nothing is in flight."""
        if self._over_usd(bound):
            spent = (
                f"--budget-usd {self.limits.usd:g}: ${self.usd:.4f} are spent, a call can cost ${bound.cost_usd:.4f}"
            )
        else:
            spent = f"--budget-tokens {self.limits.tokens}: {self.tokens:,} are used, a call can use {bound.tokens:,}"
        return BudgetError(f"The budget leaves no room for another call ({spent}); a larger one goes on from here.")

    def _over_tokens(self, bound: Bound) -> bool:
        limit = self.limits.tokens
        return limit is not None and self.tokens + self.reserved_tokens + bound.tokens > limit

    def _over_usd(self, bound: Bound) -> bool:
        limit = self.limits.usd
        return limit is not None and self.usd + self.reserved_usd + (bound.cost_usd or 0.0) > limit
