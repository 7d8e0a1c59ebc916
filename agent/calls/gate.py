"""Limits the calls in flight: to the number asked for, fewer after a rate limit, more again as answers come.

Additive increase, multiplicative decrease (Chiu & Jain 1989), once per round trip: the calls that were in flight
together hit one rate limit together. The gate never waits itself; the caller passes the time in.
"""

from dataclasses import dataclass


@dataclass
class Gate:
    """Number of calls in flight, against a moving limit."""

    most: int
    """Upper end of the limit."""
    in_flight: int = 0
    limit: float = 0.0
    opens_at_s: float = 0.0
    """Time before which nothing is sent."""
    _epoch: int = 0

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    def has_room(self, now_s: float) -> bool:
        """Returns True if a call may be sent now."""
        return self.in_flight < int(self.limit) and now_s >= self.opens_at_s

    def enter(self) -> int:
        """Counts a call as sent; returns the round trip that it belongs to."""
        self.in_flight += 1
        return self._epoch

    def leave(self) -> None:
        """Counts a call as ended."""
        self.in_flight -= 1

    def narrow(self, epoch: int) -> None:
        """Halves the limit, unless a call of the same round trip has done so."""
        if epoch == self._epoch:
            self._epoch += 1
            self.limit = max(self.limit / 2, 1.0)

    def widen(self) -> None:
        """Raises the limit by one call per round trip without a fault."""
        self.limit = min(self.limit + 1 / self.limit, float(self.most))

    def close_until(self, time_s: float) -> None:
        """Sends nothing until `time_s`."""
        self.opens_at_s = max(self.opens_at_s, time_s)
