"""The protocol of providers' batches: requests go in together, answers come out line by line, at half price.

Each method is one HTTP request and returns its reply, faults included; polling, the response to faults and logging are
up to the caller.
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
"""Price of a request in a batch, as a proportion of its usual price: the same at both providers, for all models."""
UNREAD = Failure(CallFault.WAITING, "answered in a batch, and not read yet")
"""Stands for the fault of an answer that has not been read yet."""
LOOK_S = 120.0
"""Maximum seconds for a request about batches, from its first byte to its last."""
STEP_S = 600.0
"""Maximum seconds for each step of a request that sends or fetches a whole batch."""
SEND_S = 3600.0
"""Maximum seconds for sending a whole batch: half a megabit a second for 256 MB."""


@dataclass(frozen=True)
class BatchLimits:
    """Maximum size of one batch."""

    requests: int
    bytes: int


@dataclass(frozen=True)
class ResultLine:
    """The result of one request of a batch."""

    custom_id: str
    status: int
    """200, or the status of the error if the request had been sent alone."""
    body: str
    """Response body, the same as for a request sent alone."""


@dataclass(frozen=True)
class ProviderBatch:
    """A batch as its provider describes it."""

    provider_id: str
    ended: bool
    """True if its results, complete or not, can be fetched."""
    results: Sequence[str] = ()
    """Addresses of its results."""
    n_requests: int | None = None
    token: str | None = None
    """Our token, if the provider keeps it with the batch."""
    refusal: Failure | None = None
    """Reason why the provider rejected all of its requests after it was created."""
    refused_lines: Mapping[int, Failure] = field(default_factory=dict)
    """Requests that were rejected, by position."""
    is_full: bool = False
    """True if the provider's queue is full, which is not the requests' fault."""


class Transport(Protocol):
    """Sends requests about batches; its replies hold no secrets."""

    async def heard(self, opened: AbstractAsyncContextManager[Response], timeout_s: float) -> WireReply:
        """Sends a request by entering `opened` and returns its reply, all within `timeout_s`."""
        ...

    def instead(self, error: Exception, timeout_s: float) -> WireReply:
        """Returns the reply for an exception raised in place of a whole response."""
        ...


Client = TypeVar("Client")


class SdkBatches(Generic[Client]):
    """Base of the batch APIs that go through an SDK's client."""

    def __init__(
        self,
        client: Callable[[], Client],
        parameters: Callable[[Request, AnswerForm], dict[str, Any]],
        transport: Transport,
    ) -> None:
        """Takes the SDK's client from `client`, and from `parameters` the parameters of a single request."""
        self._client = client
        self._parameters = parameters
        self.transport = transport


class BatchApi(Protocol):
    """A provider's API for batches. Each method sends one HTTP request and never retries it."""

    limits: BatchLimits
    transport: Transport

    def encoded(self, custom_id: str, request: Request, form: AnswerForm) -> bytes:
        """Encodes a request as part of a batch."""
        ...

    async def create(self, token: str, encoded: Sequence[bytes]) -> WireReply:
        """Creates a batch of requests; `token` marks it if the provider has a place for that."""
        ...

    async def look(self, provider_id: str) -> WireReply:
        """Fetches the state of a batch."""
        ...

    async def page(self, after: str | None) -> WireReply:
        """Fetches a page of all batches, the latest first."""
        ...

    def read(self, body: Mapping[str, Any]) -> ProviderBatch:
        """Parses a response that describes a batch."""
        ...

    def opened(self, batch: ProviderBatch, place: str) -> AbstractAsyncContextManager[Response]:
        """Opens one of the addresses of its results, to be read line by line."""
        ...

    def line(self, data: Any) -> ResultLine | None:
        """Parses a line of results; None if it is not one."""
        ...


async def lines_of(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """Yields the lines of a response, less those longer than `MAX_BYTES`. Raises BrokenResultsError after `most` bytes.

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
        """Returns its provider's API for batches."""
        ...

    def answer_to(self, line: ResultLine, schema: type[Value] | None, form: AnswerForm) -> Answer:
        """Parses a result of a batch; without a schema it is stored unread."""
        ...


class BrokenResultsError(Exception):
    """The results could not be read to the end."""

    def __init__(self, reply: WireReply) -> None:
        super().__init__(reply.failure.sentence if reply.failure else "")
        self.status = reply.status


async def results_of(batching: BatchApi, batch: ProviderBatch, n_requests: int) -> AsyncIterator[ResultLine]:
    """Yields all results of a batch of `n_requests` requests, in any order. Raises BrokenResultsError.

    No line is kept here. One address holds at most `MAX_BYTES` for each request, as a request alone would be answered.
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
