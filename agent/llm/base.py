"""The protocol that explainers share: a request goes in; parsed answer and raw exchange come out, both always.

One call of `answer` is one request on the wire: what to do about a fault (wait, ask again, ask in another form, stop)
is not decided here but by whoever asks, who logs every attempt first. Knows no provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from agent.schema import Proposal
from probes.settings import Value


class AnswerForm(StrEnum):
    """How an answer is made to be JSON, the strictest first; what a server cannot do, the next one replaces."""

    SCHEMA = "schema"
    """The server holds the model to the schema."""
    JSON = "json"
    """The server holds the model to JSON; the schema stands in the prompt."""
    TEXT = "text"
    """Nothing is enforced; the schema stands in the prompt."""


class CallFault(StrEnum):
    """What went wrong in an exchange, by what can be done about it."""

    TRANSIENT = "transient"
    """The same request may succeed later: rate limits, overload, timeouts, dropped connections."""
    FORM = "form"
    """The server may not know this form of asking; the next one may do."""
    UNUSABLE = "unusable"
    """An answer came, and it is none: empty, cut off, not JSON, not of the schema."""
    FINAL = "final"
    """This question will not be answered: a refusal, a prompt too long."""
    FATAL = "fatal"
    """No question will be answered: a wrong key, no permission, no credit, no such model."""
    LOST = "lost"
    """Sent, and nothing is known of it since: the run was cut off while it waited."""
    WAITING = "waiting"
    """In a batch that has not ended, or whose answer has come and was not read yet."""


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
    """The same for many requests; it goes first, so that a provider's prompt cache can keep it."""
    prompt: str
    template: str
    template_hash: str
    context: Mapping[str, Any]
    """The JSON-safe data the prompt was rendered from; a rule-based explainer reads it instead of the prompt."""
    schema: type[Value] = Proposal
    """What the answer is parsed into."""
    scoring_id: int | None = None
    """The scoring that asks; None where a loop does."""
    timeout_factor: float = 1.0
    """How long the answer is waited for, as a multiple of the explainer's own time."""


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
    """The raw side of a call, as it is logged. Unknown figures are None, never 0."""

    provider: str
    model: str
    """As asked for."""
    response: str
    """The body as it came, keys blanked; what there is of it where the connection broke."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    duration_ms: float | None = None
    error: str | None = None
    """One sentence, keys blanked."""
    fault: CallFault | None = None
    """Set exactly where `error` is."""
    form: AnswerForm | None = None
    """None where there is no server."""
    resolved_model: str | None = None
    """The model that answered, by its own account."""
    retry_after_s: float | None = None
    """How long the server asks to wait before this is tried again."""
    pause_s: float | None = None
    """How long no request at all should be sent, by the server's account of what is left of a rate limit."""
    status: int | None = None
    """HTTP status; None where none was seen."""
    timed_out: bool = False
    """Whether the answer did not come in time."""
    batch: bool = False
    """Whether it went in a batch: no limit on what is in flight was met by it."""

    @property
    def charged(self) -> bool:
        """Whether it may have cost something: nobody charges for what was turned down with an error status."""
        return self.status is None or self.status < 400

    @property
    def throttled(self) -> bool:
        """Whether the server has been asked too much."""
        return not self.batch and self.status in (429, 503, 529)


@dataclass(frozen=True)
class Answer:
    """`value` is None exactly where `exchange.error` says why."""

    value: Value | None
    exchange: Exchange

    @property
    def proposal(self) -> Proposal | None:
        """The answer to a question that asked for a proposal."""
        return self.value if isinstance(self.value, Proposal) else None


@dataclass(frozen=True)
class Bound:
    """The most that one request can use: what a budget reserves before it is sent."""

    tokens: int = 0
    """Input and output together."""
    cost_usd: float | None = 0.0
    """None where no price is known."""


class Explainer(Protocol):
    """Anything that answers requests."""

    provider: str
    model: str
    address: str
    """Base URL where it is not the provider's own, without credentials; else empty."""
    forms: tuple[AnswerForm, ...]
    """The forms it can ask in, in the order to try them; empty where there is no server."""

    def check(self) -> str:
        """A free request that tells whether key, server and model are good; a note for the user, or nothing.

        Raises ExplainerError with one sentence where no question would be answered.
        """
        ...

    def bound(self, request: Request) -> Bound:
        """The most that `request` can use in any form."""
        ...

    def cost_usd(self, usage: Usage) -> float | None:
        """What such an exchange costs; None where no price is known."""
        ...

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        """The answer to `request`, by exactly one request on the wire; faults are in the answer, not raised."""
        ...

    async def close(self) -> None:
        """Gives connections back."""
        ...
