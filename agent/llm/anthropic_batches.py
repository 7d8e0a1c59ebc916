"""Anthropic's Message Batches, by its SDK: how they are made, looked at, listed and read."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anthropic

from agent.llm.base import AnswerForm, Request
from agent.llm.batching import LOOK_S, SEND_S, STEP_S, BatchLimits, ProviderBatch, ResultLine, SdkBatches
from agent.llm.bodies import at, text_at, tokens_at
from agent.llm.wire import Response, WireReply, timeout

_LISTED = 100
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""HTTP status of each type of error if the request had been sent alone."""
_UNPROCESSED = 408
"""Status of a request that the batch did not process."""


class AnthropicBatches(SdkBatches[anthropic.AsyncAnthropic]):
    """Batches of the messages API; the only place for a token of ours is the requests' own ids."""

    limits = BatchLimits(requests=100_000, bytes=256_000_000)

    def encoded(self, custom_id: str, request: Request, form: AnswerForm) -> bytes:
        """Encodes a request with the parameters of the messages API."""
        return json.dumps({"custom_id": custom_id, "params": self._parameters(request, form)}).encode()

    async def create(self, token: str, encoded: Sequence[bytes]) -> WireReply:  # noqa: ARG002, it is in their ids
        """Creates a batch with one HTTP request that holds all of its requests."""
        requests: Any = [json.loads(one) for one in encoded]
        made = self._batches().with_streaming_response.create(requests=requests, timeout=timeout(STEP_S))
        return await self.transport.heard(made, SEND_S)

    async def look(self, provider_id: str) -> WireReply:
        """Fetches a batch by its id."""
        found = self._batches().with_streaming_response.retrieve(provider_id, timeout=timeout(LOOK_S))
        return await self.transport.heard(found, LOOK_S)

    async def page(self, after: str | None) -> WireReply:
        """Lists up to a hundred batches."""
        after_id = anthropic.omit if after is None else after
        batches = self._batches().with_streaming_response
        listed = batches.list(limit=_LISTED, after_id=after_id, timeout=timeout(LOOK_S))
        return await self.transport.heard(listed, LOOK_S)

    def read(self, body: Mapping[str, Any]) -> ProviderBatch:
        """Parses a batch; its counts stay 0 until it has ended, and archived results cannot be fetched."""
        counts = [tokens_at(body, "request_counts", name) for name in ("succeeded", "errored", "canceled", "expired")]
        done = sum(count or 0 for count in counts)
        waiting = tokens_at(body, "request_counts", "processing")
        return ProviderBatch(
            provider_id=text_at(body, "id"),
            ended=text_at(body, "processing_status") == "ended",
            results=("results",) if text_at(body, "results_url") else (),
            n_requests=None if waiting is None else waiting + done,
        )

    def opened(self, batch: ProviderBatch, place: str) -> AbstractAsyncContextManager[Response]:  # noqa: ARG002, there is one
        """Opens the results; the SDK first asks for their address."""
        return self._batches().with_streaming_response.results(batch.provider_id, timeout=timeout(STEP_S))

    def line(self, data: Any) -> ResultLine | None:
        """Parses a result: a message, an error, or a note that it expired or was cancelled."""
        custom_id, kind = text_at(data, "custom_id"), text_at(data, "result", "type")
        if not custom_id or not kind:
            return None
        if kind == "succeeded":
            return ResultLine(custom_id, 200, json.dumps(at(data, "result", "message"), ensure_ascii=False))
        if kind == "errored":
            told = at(data, "result", "error")
            error = at(told, "error") or told
            status = _STATUS.get(text_at(error, "type"), 500)
        else:
            error, status = {"type": kind, "message": f"it {_ENDS.get(kind, kind)}"}, _UNPROCESSED
        return ResultLine(custom_id, status, json.dumps({"type": "error", "error": error}))

    def _batches(self) -> anthropic.resources.messages.AsyncBatches:
        return self._client().messages.batches


_ENDS = {"expired": "expired before it was processed", "canceled": "was cancelled before it was processed"}
