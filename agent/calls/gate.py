"""How many calls may be in flight: as many as asked for, fewer after a rate limit, more again as answers come.

Additive increase, multiplicative decrease (Chiu & Jain 1989), once per round trip: the calls that were in flight
together hear of one limit together. Bookkeeping only, nothing waits here; the caller brings the time.
"""

from dataclasses import dataclass


@dataclass
class Gate:
    """Calls in flight against a limit that moves."""

    most: int
    """The limit where the server does not mind."""
    in_flight: int = 0
    limit: float = 0.0
    opens_at_s: float = 0.0
    """Nothing is sent before this time."""
    _epoch: int = 0

    def __post_init__(self) -> None:
        self.limit = float(self.most)

    def has_room(self, now_s: float) -> bool:
        """Whether a call may be sent now."""
        return self.in_flight < int(self.limit) and now_s >= self.opens_at_s

    def enter(self) -> int:
        """Notes that a call is sent; the round trip it belongs to."""
        self.in_flight += 1
        return self._epoch

    def leave(self) -> None:
        """Notes that a call has ended."""
        self.in_flight -= 1

    def narrow(self, epoch: int) -> None:
        """Halves the limit, unless a call of the same round trip has done so."""
        if epoch == self._epoch:
            self._epoch += 1
            self.limit = max(self.limit / 2, 1.0)

    def widen(self) -> None:
        """A little more room: one call more per round trip without a fault."""
        self.limit = min(self.limit + 1 / self.limit, float(self.most))

    def close_until(self, time_s: float) -> None:
        """Keeps everything back until then."""
        self.opens_at_s = max(self.opens_at_s, time_s)
