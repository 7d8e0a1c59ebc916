"""The protocol that providers of batches share: requests go in together, answers come out line by line, at half price.

What is one request on the wire comes back as it is, faults and all; when to look again, what to do about a fault and
what is logged are for whoever asks. Knows no provider.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from agent.llm.base import Answer, AnswerForm, CallFault, Explainer, Request
from agent.llm.bodies import json_of
from agent.llm.faults import Failure
from agent.llm.wire import MAX_BYTES, Response, WireReply, chunks_of
from probes.settings import Value

BATCH_PRICE = 0.5
"""What a request costs in a batch, as a share of its price: both providers' own figure, for all of their models."""
UNREAD = Failure(CallFault.WAITING, "answered in a batch, and not read yet")
"""In the place of what is wrong with an answer that nobody has read."""
LOOK_S = 120.0
"""Most seconds for a request that asks about batches, from its first byte to its last."""
STEP_S = 600.0
"""Most seconds for each step of a request that sends or fetches a whole batch."""
SEND_S = 3600.0
"""Most seconds for all of one that sends: for 256 MB that is half a megabit a second."""


@dataclass(frozen=True)
class BatchLimits:
    """What one batch may hold."""

    requests: int
    bytes: int


@dataclass(frozen=True)
class ResultLine:
    """What the results of a batch say of one of its requests."""

    custom_id: str
    status: int
    """200, or what the error would have come with had the request been sent alone."""
    body: str
    """As it would have come alone."""


@dataclass(frozen=True)
class ProviderBatch:
    """A batch as its provider describes it."""

    provider_id: str
    ended: bool
    """Whether its results can be fetched, such as they are."""
    results: Sequence[str] = ()
    """Where they are."""
    n_requests: int | None = None
    token: str | None = None
    """Ours, where the provider keeps it with the batch."""
    refusal: Failure | None = None
    """Why the provider took none of its requests, found out after it was made."""
    refused_lines: Mapping[int, Failure] = field(default_factory=dict)
    """The requests for which it did not, by their place."""
    is_full: bool = False
    """Whether too much is queued at the provider: that is not the requests' fault."""


class Transport(Protocol):
    """How requests about batches go over the wire. What it says holds no secrets."""

    async def heard(self, opened: AbstractAsyncContextManager[Response], timeout_s: float) -> WireReply:
        """What comes back of a request that is sent by entering `opened`, all within `timeout_s`."""
        ...

    def instead(self, error: Exception, timeout_s: float) -> WireReply:
        """What came in the place of a whole response."""
        ...


Client = TypeVar("Client")


class SdkBatches(Generic[Client]):
    """What batches through an SDK work with."""

    def __init__(
        self,
        client: Callable[[], Client],
        parameters: Callable[[Request, AnswerForm], dict[str, Any]],
        transport: Transport,
    ) -> None:
        """`client` gives the SDK's client, `parameters` what a request alone is asked with."""
        self._client = client
        self._parameters = parameters
        self.transport = transport


class BatchApi(Protocol):
    """How a provider takes requests together. Every request here is one on the wire, never tried again."""

    limits: BatchLimits
    transport: Transport

    def encoded(self, custom_id: str, request: Request, form: AnswerForm) -> bytes:
        """A request as it stands in a batch."""
        ...

    async def create(self, token: str, encoded: Sequence[bytes]) -> WireReply:
        """Makes a batch of requests; `token` marks it where the provider has a place for that."""
        ...

    async def look(self, provider_id: str) -> WireReply:
        """Asks how it is with a batch."""
        ...

    async def page(self, after: str | None) -> WireReply:
        """A page of the batches that there are, the latest first."""
        ...

    def read(self, body: Mapping[str, Any]) -> ProviderBatch:
        """What a response says of a batch."""
        ...

    def opened(self, batch: ProviderBatch, place: str) -> AbstractAsyncContextManager[Response]:
        """One of the places with its results, to be read line by line."""
        ...

    def line(self, data: Any) -> ResultLine | None:
        """What a line of results says; None where it is none."""
        ...


async def lines_of(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """The lines of a response, less those longer than `MAX_BYTES`. Raises BrokenResultsError after `most` bytes.

    Only a line feed ends one, since answers may hold every other line break.
    """
    rest = bytearray()
    n = 0
    async for chunk in chunks:
        n += len(chunk)
        if n > most:
            raise BrokenResultsError(
                WireReply(failure=Failure(CallFault.UNUSABLE, f"results longer than {most:,} bytes"))
            )
        rest += chunk
        if b"\n" in chunk:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in whole:
                if len(line) <= MAX_BYTES:
                    yield line
        if len(rest) > MAX_BYTES:
            rest = bytearray(b"?")  # no JSON any more, so that it is skipped
    if rest:
        yield bytes(rest)


@runtime_checkable
class BatchExplainer(Explainer, Protocol):
    """An explainer whose provider takes batches."""

    def batching(self) -> BatchApi:
        """How its provider takes requests together."""
        ...

    def answer_to(self, line: ResultLine, schema: type[Value] | None, form: AnswerForm) -> Answer:
        """What a line of a batch's results answers; without a schema it is kept to be read later."""
        ...


class BrokenResultsError(Exception):
    """Results were not read to their end."""

    def __init__(self, reply: WireReply) -> None:
        super().__init__(reply.failure.sentence if reply.failure else "")
        self.status = reply.status


async def results_of(batching: BatchApi, batch: ProviderBatch, n_requests: int) -> AsyncIterator[ResultLine]:
    """All lines of the results of a batch of so many requests, in whatever order. Raises BrokenResultsError.

    No line is kept here. One place holds at most `MAX_BYTES` for each request, as a request alone would be answered.
    """
    for place in batch.results:
        try:
            async with batching.opened(batch, place) as response:
                async for text in lines_of(chunks_of(response), n_requests * MAX_BYTES):
                    line = batching.line(json_of(text.decode("utf-8", "replace")))
                    if line is not None:
                        yield line
        except BrokenResultsError:
            raise
        except Exception as error:  # whatever an SDK, a codec or a server does ends here
            raise BrokenResultsError(batching.transport.instead(error, STEP_S)) from error
