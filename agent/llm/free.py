"""What explainers without a server have in common: nothing to check, to pay or to close."""

from agent.llm.base import AnswerForm, Bound, Request, Usage


class Free:
    """Uses no tokens and costs nothing."""

    address = ""
    forms: tuple[AnswerForm, ...] = ()

    def check(self) -> str:
        """Nothing can be wrong with it."""
        return ""

    def bound(self, request: Request) -> Bound:  # noqa: ARG002
        """It uses no tokens and costs nothing."""
        return Bound()

    def cost_usd(self, usage: Usage) -> float | None:  # noqa: ARG002
        """Nothing."""
        return 0.0

    async def close(self) -> None:
        """There is nothing to give back."""
