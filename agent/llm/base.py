"""The protocol that explainers share: a request goes in; parsed answer and raw exchange come out, both always.

One call of `answer` is one HTTP request: the caller decides the response to a fault (wait, ask again, ask in another
form, stop), and logs every attempt first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from agent.schema import Proposal
from probes.settings import Value


class AnswerForm(StrEnum):
    """Ways to make a model answer in JSON, the strictest first; a server that lacks one is asked in the next."""

    SCHEMA = "schema"
    """The server holds the model to the schema."""
    JSON = "json"
    """The server holds the model to JSON; the schema stands in the prompt."""
    TEXT = "text"
    """Nothing is enforced; the schema stands in the prompt."""


class CallFault(StrEnum):
    """Kinds of faults in an exchange, by the response to them."""

    TRANSIENT = "transient"
    """The same request may succeed later: a rate limit, overload, a timeout, a dropped connection."""
    FORM = "form"
    """The server may not support this form of asking; the next one may work."""
    UNUSABLE = "unusable"
    """The answer cannot be used: empty, cut off, not JSON, not of the schema."""
    FINAL = "final"
    """This question will not be answered: a refusal, a prompt too long."""
    FATAL = "fatal"
    """No question will be answered: a wrong key, no permission, no credit, no such model."""
    LOST = "lost"
    """Sent, with an unknown fate: the run was interrupted while it waited."""
    WAITING = "waiting"
    """Part of a batch that has not ended, or answered in a batch and not read yet."""


@dataclass(frozen=True)
class Request:
    """One question to an explainer."""

    feature: int
    round: int
    purpose: str
    """Purpose of the call, e.g. `explain`."""
    item: int
    """Number of the call among those of that purpose in that round."""
    system: str
    """The same for many requests; it goes first, so that a provider's prompt cache can keep it."""
    prompt: str
    template: str
    template_hash: str
    context: Mapping[str, Any]
    """The JSON-safe data the prompt was rendered from; a rule-based explainer reads it instead of the prompt."""
    schema: type[Value] = Proposal
    """Type that the answer is parsed into."""
    scoring_id: int | None = None
    """The scoring that asks; None where a loop does."""
    timeout_factor: float = 1.0
    """Timeout of this request, as a multiple of the explainer's own."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one exchange; None where the server did not say. Cached tokens are among the input's."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    """Thinking included."""
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None


@dataclass(frozen=True)
class Exchange:
    """The raw exchange of a call, as it is logged. Unknown figures are None, never 0."""

    provider: str
    model: str
    """Model name as asked for."""
    response: str
    """Response body as received, keys blanked; incomplete if the connection broke."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    duration_ms: float | None = None
    error: str | None = None
    """One sentence, keys blanked."""
    fault: CallFault | None = None
    """Set if and only if `error` is."""
    form: AnswerForm | None = None
    """None for an explainer without a server."""
    resolved_model: str | None = None
    """Model that answered, according to the server."""
    retry_after_s: float | None = None
    """Time that the server asks to wait before a retry."""
    pause_s: float | None = None
    """Time in which no request should be sent, according to the server's figures on its rate limit."""
    status: int | None = None
    """HTTP status; None if there was none."""
    timed_out: bool = False
    """True if the answer did not come in time."""
    batch: bool = False
    """True if it was part of a batch, which does not count as in flight."""

    @property
    def charged(self) -> bool:
        """True if the exchange may have cost something: requests rejected with an error status are free."""
        return self.status is None or self.status < 400

    @property
    def throttled(self) -> bool:
        """True if the server reports a rate limit."""
        return not self.batch and self.status in (429, 503, 529)


@dataclass(frozen=True)
class Answer:
    """A parsed answer with its exchange; `value` is None if and only if `exchange.error` says why."""

    value: Value | None
    exchange: Exchange

    @property
    def proposal(self) -> Proposal | None:
        """The value of an answer to a request for a proposal."""
        return self.value if isinstance(self.value, Proposal) else None


@dataclass(frozen=True)
class Bound:
    """Upper bound on the use of one request, reserved from the budget before it is sent."""

    tokens: int = 0
    """Input and output together."""
    cost_usd: float | None = 0.0
    """None where no price is known."""


class Explainer(Protocol):
    """Anything that answers requests."""

    provider: str
    model: str
    address: str
    """Base URL without credentials; empty for the provider's own address."""
    forms: tuple[AnswerForm, ...]
    """Supported answer forms in the order to try them; empty without a server."""

    def check(self) -> str:
        """Checks key, server and model by a free request; returns a note for the user, or an empty string.

        Raises ExplainerError with one sentence where no question would be answered.
        """
        ...

    def bound(self, request: Request) -> Bound:
        """The most that `request` can use in any form."""
        ...

    def cost_usd(self, usage: Usage) -> float | None:
        """Returns the cost of `usage` in US dollars; None if no price is known."""
        ...

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        """Answers `request` by exactly one HTTP request; faults are in the answer, not raised."""
        ...

    async def close(self) -> None:
        """Closes connections."""
        ...
