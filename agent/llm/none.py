"""The explainer that is nobody: a run of it probes, keeps the evidence and asks nothing.

Any later run of the same settings labels from that evidence (agent/known_evidence.py).
"""

from agent.errors import ExplainerError
from agent.llm.base import Answer, AnswerForm, Request
from agent.llm.free import Free

NONE = "none"
"""Its name, as `--llm` and a run's row have it."""


class NoExplainer(Free):
    """Nobody to ask."""

    provider = NONE
    model = ""

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:  # noqa: ARG002
        """Raises ExplainerError: whoever asks has not seen that there is nobody."""
        raise ExplainerError(f"--llm {NONE} asks nobody, so there is no answer about feature {request.feature}.")
