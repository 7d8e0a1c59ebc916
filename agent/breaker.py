"""Ends a run whose features all fail by one and the same fault of ours, instead of failing each of thousands by it.

Bookkeeping only.
"""

import re
from dataclasses import dataclass, field

from agent.errors import BrokenError
from agent.schema import Outcome

ALIKE = 5
"""So many failures in a row, with nothing before them, say that the next feature will fail as well."""
INTERNAL = "internal error, "
"""How the reason of a fault of ours begins."""

_DETAIL = re.compile(r"\d+(\.\d+)?|'[^']{0,80}'|\"[^\"]{0,80}\"")
"""What differs from feature to feature in what one fault says."""


@dataclass
class Breaker:
    """Counts a run's first outcomes."""

    alike: int = ALIKE
    _reasons: list[str] = field(default_factory=list)
    _closed: bool = False
    """True once any feature has ended in another way: the fault is then not common to all."""

    def count(self, outcome: Outcome) -> None:
        """Raises BrokenError once `alike` features have failed alike and none has ended in another way."""
        reason = _DETAIL.sub("…", outcome.reason)
        is_ours = outcome.status == "failed" and outcome.reason.startswith(INTERNAL)
        self._closed |= not is_ours or any(earlier != reason for earlier in self._reasons)
        if self._closed:
            return
        self._reasons.append(reason)
        if len(self._reasons) < self.alike:
            return
        raise BrokenError(
            f"The first {len(self._reasons)} features all failed alike: {outcome.reason.rstrip('.')}. The program or "
            "its installation is at fault; once that is fixed, run the same command to continue."
        )
