"""Base of explainers without a server: nothing to check, to pay or to close."""

from agent.llm.base import AnswerForm, Bound, Request, Usage


class Free:
    """An explainer that uses no tokens and costs nothing."""

    address = ""
    forms: tuple[AnswerForm, ...] = ()

    def check(self) -> str:
        """Returns an empty note: nothing can be wrong."""
        return ""

    def bound(self, request: Request) -> Bound:  # noqa: ARG002
        """Returns a bound of no tokens and no cost."""
        return Bound()

    def cost_usd(self, usage: Usage) -> float | None:  # noqa: ARG002
        """Returns 0."""
        return 0.0

    async def close(self) -> None:
        """Does nothing: there are no connections."""
