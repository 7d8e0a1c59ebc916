"""OpenAI's Batch API, by its SDK: how batches are made, looked at, listed and read."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import openai

from agent.llm.base import AnswerForm, Request
from agent.llm.batching import LOOK_S, SEND_S, STEP_S, BatchLimits, ProviderBatch, ResultLine, SdkBatches
from agent.llm.bodies import at, items_at, json_of, printable, text_at, tokens_at
from agent.llm.faults import Failure, from_line
from agent.llm.wire import Response, WireReply, timeout

_ENDPOINT: Any = "/v1/chat/completions"
_MARK = "interpret_batch"
"""The key of a batch's metadata that holds our token."""
_LISTED = 100
_ENDED = ("completed", "expired", "cancelled", "failed")
_FULL = "token_limit_exceeded"
"""The code of the error where too many tokens are queued for a model."""
_STATUS = {"batch_expired": 408, "batch_cancelled": 408, "rate_limit_exceeded": 429, "server_error": 500}
"""HTTP status for an error without a response, by its code."""


class OpenAIBatches(SdkBatches[openai.AsyncOpenAI]):
    """Batches of chat completions: a file of requests goes up, a file of answers and one of errors come down."""

    limits = BatchLimits(requests=50_000, bytes=200_000_000)

    def encoded(self, custom_id: str, request: Request, form: AnswerForm) -> bytes:
        """Encodes a request as a line of the file."""
        body = self._parameters(request, form)
        line = {"custom_id": custom_id, "method": "POST", "url": _ENDPOINT, "body": body}
        return json.dumps(line).encode()

    async def create(self, token: str, encoded: Sequence[bytes]) -> WireReply:
        """Uploads a file and creates a batch of it. A file without a batch costs nothing."""
        file = (f"interpret-{token}.jsonl", b"\n".join(encoded) + b"\n", "application/jsonl")
        sent = self._client().files.with_streaming_response.create(file=file, purpose="batch", timeout=timeout(STEP_S))
        reply = await self.transport.heard(sent, SEND_S)
        file_id = text_at(json_of(reply.text), "id")
        if reply.failure is not None or not file_id:
            return reply
        made = self._client().batches.with_streaming_response.create(
            input_file_id=file_id,
            endpoint=_ENDPOINT,
            completion_window="24h",
            metadata={_MARK: token},
            timeout=timeout(LOOK_S),
        )
        return await self.transport.heard(made, LOOK_S)

    async def look(self, provider_id: str) -> WireReply:
        """Fetches a batch by its id."""
        found = self._client().batches.with_streaming_response.retrieve(provider_id, timeout=timeout(LOOK_S))
        return await self.transport.heard(found, LOOK_S)

    async def page(self, after: str | None) -> WireReply:
        """Lists up to a hundred batches."""
        listed = self._client().batches.with_streaming_response.list(
            limit=_LISTED, after=openai.omit if after is None else after, timeout=timeout(LOOK_S)
        )
        return await self.transport.heard(listed, LOOK_S)

    def read(self, body: Mapping[str, Any]) -> ProviderBatch:
        """Parses a batch; status `failed` means rejected by validation after it was created."""
        status = text_at(body, "status")
        files = tuple(file for file in (text_at(body, "output_file_id"), text_at(body, "error_file_id")) if file)
        errors = items_at(body, "errors", "data") if status == "failed" else []
        lines = {line - 1: _refusal(error) for error in errors if (line := tokens_at(error, "line"))}
        return ProviderBatch(
            provider_id=text_at(body, "id"),
            ended=status in _ENDED,
            results=files,
            n_requests=tokens_at(body, "request_counts", "total"),
            token=text_at(body, "metadata", _MARK),  # empty: somebody else's
            refusal=_refusal(errors[0] if errors else None) if status == "failed" else None,
            refused_lines=lines,
            is_full=any(text_at(error, "code") == _FULL for error in errors),
        )

    def opened(self, batch: ProviderBatch, place: str) -> AbstractAsyncContextManager[Response]:  # noqa: ARG002, a file's id
        """Opens the content of a file."""
        return self._client().files.with_streaming_response.content(place, timeout=timeout(STEP_S))

    def line(self, data: Any) -> ResultLine | None:
        """Parses a result: a response as if sent alone, or an error in place of one."""
        custom_id, status = text_at(data, "custom_id"), tokens_at(data, "response", "status_code")
        if not custom_id:
            return None
        if status is not None:
            return ResultLine(custom_id, status, json.dumps(at(data, "response", "body"), ensure_ascii=False))
        error = at(data, "error")
        code = _STATUS.get(text_at(error, "code"), 500)
        return ResultLine(custom_id, code, json.dumps({"error": error}))


def _refusal(error: Any) -> Failure:
    told = printable(text_at(error, "message") or text_at(error, "code") or "it failed, and no reason was given")
    # what is wrong with the form of a request is found out here, too
    fault = from_line(400, json.dumps({"error": error}), AnswerForm.SCHEMA).fault
    return Failure(fault, f"the batch was refused: {told}")
