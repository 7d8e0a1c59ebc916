"""Anthropic's models, by its SDK's messages; and any server that speaks the same protocol."""

from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any

import anthropic

from agent.llm.anthropic_batches import AnthropicBatches
from agent.llm.base import AnswerForm, CallFault, Request, Usage
from agent.llm.batching import BatchApi
from agent.llm.bodies import at, printable, text_at, texts_at, tokens_at
from agent.llm.faults import Failure
from agent.llm.hosted import CHECK_S, Hosted, ResponseContent, worded
from agent.llm.wire import CLIENT, Response, timeout
from probes.settings import Value

_LISTED = 1000


class Anthropic(Hosted):
    """Asks by the messages API; the system prompt is marked for the provider's cache."""

    provider = "anthropic"
    forms: tuple[AnswerForm, ...] = (AnswerForm.SCHEMA, AnswerForm.TEXT)
    own_address = "https://api.anthropic.com"
    usual_path = ""
    base_variable = "ANTHROPIC_BASE_URL"
    key_variables = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")
    sdk_error = anthropic.AnthropicError
    _client: anthropic.AsyncAnthropic | None = None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def batching(self) -> BatchApi:
        """Returns the API of its Message Batches."""
        return AnthropicBatches(self._sdk, self.parameters, self)

    def _opened(self, request: Request, form: AnswerForm, timeout_s: float) -> AbstractAsyncContextManager[Response]:
        asked = self.parameters(request, form)
        return self._sdk().messages.with_streaming_response.create(**asked, timeout=timeout(timeout_s))

    def parameters(self, request: Request, form: AnswerForm) -> dict[str, Any]:
        """Builds the parameters of a request to the messages API."""
        output: Any = {}
        if form is AnswerForm.SCHEMA:
            output["format"] = {"type": "json_schema", "schema": self._schema(request.schema)}
        if self.effort is not None:
            output["effort"] = self.effort
        system, prompt = worded(request, form)
        asked = {
            "model": self.model,
            "max_tokens": self.answer_tokens,
            "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": prompt}],
        }
        return asked | ({"output_config": output} if output else {})

    def _schema(self, schema: type[Value]) -> dict[str, Any]:
        return _strict(schema)

    def _read(self, body: dict[str, Any]) -> ResponseContent:
        model = printable(text_at(body, "model"), 200) or None
        return ResponseContent(
            texts_at(body, "content"), _usage(at(body, "usage")), model, at(body, "error"), self._failure(body)
        )

    def _failure(self, body: dict[str, Any]) -> Failure | None:
        match at(body, "stop_reason"):
            case "max_tokens":
                cut = f"the answer was cut off by its length limit of {self.answer_tokens} tokens"
                return Failure(CallFault.UNUSABLE, cut)
            case "refusal":
                why = text_at(body, "stop_details", "explanation") or text_at(body, "stop_details", "category")
                return Failure(
                    CallFault.FINAL, ": ".join(filter(None, ("the model refused to answer", printable(why))))
                )
            case "model_context_window_exceeded":
                return Failure(
                    CallFault.FINAL, "the question and its answer are longer than the model's context window"
                )
        if not isinstance(at(body, "content"), list):
            return Failure(CallFault.TRANSIENT, "the server's response has no content")
        return None

    def _models(self, model: str | None) -> AbstractAsyncContextManager[Response]:
        models = self._sdk().models.with_streaming_response
        if model is None:
            return models.list(limit=_LISTED, timeout=timeout(CHECK_S))
        return models.retrieve(model, timeout=timeout(CHECK_S))

    def _sdk(self) -> anthropic.AsyncAnthropic:
        if self._client is None:
            http = anthropic.DefaultAsyncHttpxClient(**CLIENT)
            self._client = anthropic.AsyncAnthropic(**self._access(), max_retries=0, http_client=http)
        return self._client

    def _access(self) -> dict[str, Any]:
        """Returns key and address as the SDK's clients take them."""
        variable, key = self._key()
        name = "auth_token" if variable == "ANTHROPIC_AUTH_TOKEN" else "api_key"
        return {name: key or "none", "base_url": self.base_url}


@cache
def _strict(schema: type[Value]) -> dict[str, Any]:
    return anthropic.transform_schema(schema)


def _usage(usage: Any) -> Usage:
    """Converts token counts: Anthropic counts cached tokens apart from the input, `Usage` includes them."""
    fresh, out = tokens_at(usage, "input_tokens"), tokens_at(usage, "output_tokens")
    read, written = tokens_at(usage, "cache_read_input_tokens"), tokens_at(usage, "cache_creation_input_tokens")
    total = None if fresh is None else fresh + (read or 0) + (written or 0)
    return Usage(total, out, read, written)
