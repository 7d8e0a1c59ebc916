"""The protocol that explainers share: a request goes in; parsed answer and raw exchange come out, both always."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from agent.schema import Proposal


@dataclass(frozen=True)
class Request:
    """One question to an explainer."""

    feature: int
    round: int
    purpose: str
    """What the call is for, e.g. `explain`."""
    item: int
    """Which call of that purpose in that round."""
    system: str
    prompt: str
    template: str
    template_hash: str
    context: Mapping[str, Any]
    """The JSON-safe data the prompt was rendered from; a rule-based explainer reads it instead of the prompt."""


@dataclass(frozen=True)
class Exchange:
    """The raw side of a call, as it is logged. Unknown figures are None, never 0."""

    provider: str
    model: str
    response: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    duration_ms: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Answer:
    """`proposal` is None exactly where `exchange.error` says why."""

    proposal: Proposal | None
    exchange: Exchange


class Explainer(Protocol):
    """Anything that answers requests."""

    provider: str
    model: str

    async def answer(self, request: Request) -> Answer:
        """The answer to `request`; faults of the exchange are in the answer, not raised."""
        ...
