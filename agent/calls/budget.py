"""Accounts for the spending of a run against its limits.

A call in flight counts as the most it can use, so that the limits hold whatever its answer turns out to cost; so does a
call whose figures are unknown.
"""

from dataclasses import dataclass

from agent.errors import BudgetError
from agent.llm.base import Bound, Exchange


@dataclass(frozen=True)
class Limits:
    """Maximum spending of a run altogether; None means no limit."""

    tokens: int | None = None
    usd: float | None = None


@dataclass
class SpendingBudget:
    """Spending so far and reserved, against its limits."""

    limits: Limits = Limits()
    tokens: int = 0
    """Tokens used; an upper bound where figures are unknown."""
    usd: float = 0.0
    reserved_tokens: int = 0
    """Tokens reserved for calls in flight."""
    reserved_usd: float = 0.0
    known_usd: float = 0.0
    """Sum of the known costs."""

    def fits(self, bound: Bound) -> bool:
        """Returns True if a call of that size is certain to stay within the limits."""
        return not (self._over_tokens(bound) or self._over_usd(bound))

    def reserve(self, bound: Bound) -> None:
        """Reserves the most that a call can use."""
        self.reserved_tokens += bound.tokens
        self.reserved_usd += bound.cost_usd or 0.0

    def settle(self, bound: Bound, exchange: Exchange | None) -> None:
        """Replaces a reservation by the call's actual use; keeps all of it if the use is unknown."""
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
        """Returns the error for a call of that size that does not fit even with nothing in flight."""
        if self._over_usd(bound):
            spent = (
                f"--budget-usd {self.limits.usd:g}: ${self.usd:.4f} are spent, a call can cost ${bound.cost_usd:.4f}"
            )
        else:
            spent = f"--budget-tokens {self.limits.tokens}: {self.tokens:,} are used, a call can use {bound.tokens:,}"
        return BudgetError(f"The budget leaves no room for another call ({spent}); raise it to continue.")

    def _over_tokens(self, bound: Bound) -> bool:
        limit = self.limits.tokens
        return limit is not None and self.tokens + self.reserved_tokens + bound.tokens > limit

    def _over_usd(self, bound: Bound) -> bool:
        limit = self.limits.usd
        return limit is not None and self.usd + self.reserved_usd + (bound.cost_usd or 0.0) > limit
