"""The absence of an explainer: the run probes and stores the evidence, and asks nothing.

Any later run of the same settings labels from that evidence (agent/known_evidence.py).
"""

from agent.errors import ExplainerError
from agent.llm.base import Answer, AnswerForm, Request
from agent.llm.free import Free

NONE = "none"
"""The name of this explainer in `--llm` and in a run's row."""


class NoExplainer(Free):
    """An explainer that must not be asked."""

    provider = NONE
    model = ""

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:  # noqa: ARG002
        """Raises ExplainerError: a caller must check for this explainer first."""
        raise ExplainerError(f"--llm {NONE} asks nobody, so there is no answer about feature {request.feature}.")
