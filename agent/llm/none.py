"""The explainer that is nobody: a run of it probes, keeps the evidence and asks nothing.

Any later run of the same settings labels from that evidence (agent/known_evidence.py).
"""

from agent.errors import ExplainerError
from agent.llm.base import Answer, Bound, Form, Request, Usage

NONE = "none"
"""Its name, as `--llm` and a run's row have it."""


class NoExplainer:
    """Nobody to ask."""

    provider = NONE
    model = ""
    address = ""
    forms: tuple[Form, ...] = ()

    def check(self) -> str:
        """Nothing can be wrong with it."""
        return ""

    def bound(self, request: Request) -> Bound:  # noqa: ARG002
        """It uses no tokens and costs nothing."""
        return Bound()

    def cost_usd(self, usage: Usage) -> float | None:  # noqa: ARG002
        """Nothing."""
        return 0.0

    async def answer(self, request: Request, form: Form | None = None) -> Answer:  # noqa: ARG002
        """Raises ExplainerError: whoever asks has not seen that there is nobody."""
        raise ExplainerError(f"--llm {NONE} asks nobody, so there is no answer about feature {request.feature}.")

    async def close(self) -> None:
        """There is nothing to give back."""
