"""OpenAI's models, by its SDK's chat completions; and every server that speaks them."""

from contextlib import AbstractAsyncContextManager
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import openai

from agent.llm.base import AnswerForm, CallFault, Request, Usage
from agent.llm.batching import BatchApi
from agent.llm.bodies import at, printable, text_at, texts_at, tokens_at
from agent.llm.faults import Failure
from agent.llm.hosted import CHECK_S, Hosted, ResponseContent, worded
from agent.llm.openai_batches import OpenAIBatches
from agent.llm.wire import CLIENT, Response, timeout
from probes.settings import Value

_DROPPED = frozenset({"default", "title", "minLength", "maxLength", "minimum", "maximum"})
"""JSON Schema keywords that strict mode or small servers reject; the parser enforces them."""
_CACHE_KEY_CHARS = 32


class OpenAI(Hosted):
    """Asks by chat completions, the one protocol that compatible servers speak."""

    provider = "openai"
    forms: tuple[AnswerForm, ...] = (AnswerForm.SCHEMA, AnswerForm.JSON, AnswerForm.TEXT)
    own_address = "https://api.openai.com/v1"
    usual_path = "/v1"
    base_variable = "OPENAI_BASE_URL"
    key_variables = ("OPENAI_API_KEY",)
    sdk_error = openai.OpenAIError
    _client: openai.AsyncOpenAI | None = None

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def batching(self) -> BatchApi:
        """Returns its Batch API."""
        return OpenAIBatches(self._sdk, self.parameters, self)

    def _opened(self, request: Request, form: AnswerForm, timeout_s: float) -> AbstractAsyncContextManager[Response]:
        asked = self.parameters(request, form)
        # beside the SDK's own parameters, which it walks field by field at each call: a sixth of a call's work
        beside = {"response_format": asked.pop("response_format")} if form is AnswerForm.SCHEMA else None
        create = self._sdk().chat.completions.with_streaming_response.create
        return create(**asked, extra_body=beside, timeout=timeout(timeout_s))

    def parameters(self, request: Request, form: AnswerForm) -> dict[str, Any]:
        """Builds the parameters of a chat completion."""
        system, prompt = worded(request, form)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        return {"model": self.model, "messages": messages, **self._options(request, form)}

    def _options(self, request: Request, form: AnswerForm) -> dict[str, Any]:
        """Returns the parameters that differ by form and server: others lack OpenAI's cache and newer names."""
        options: dict[str, Any] = {}
        if form is AnswerForm.SCHEMA:
            schema = {"name": request.schema.__name__, "strict": True, "schema": self._schema(request.schema)}
            options["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif form is AnswerForm.JSON:
            options["response_format"] = {"type": "json_object"}
        if self.effort is not None:
            options["reasoning_effort"] = self.effort
        host = urlsplit(self.base_url).hostname or ""
        if host == "api.openai.com" or host.endswith(".api.openai.com"):
            cache_key = request.template_hash[:_CACHE_KEY_CHARS]
            return options | {
                "max_completion_tokens": self.answer_tokens,
                "store": False,
                "prompt_cache_key": cache_key,
            }
        return options | {"max_tokens": self.answer_tokens}

    def _schema(self, schema: type[Value]) -> dict[str, Any]:
        return _strict(schema)

    def _read(self, body: dict[str, Any]) -> ResponseContent:
        choice = at(body, "choices", 0)
        content = at(choice, "message", "content")
        text = content if isinstance(content, str) else texts_at(content)
        model = printable(text_at(body, "model"), 200) or None
        error = at(body, "error") or at(choice, "error")
        return ResponseContent(text, _usage(at(body, "usage")), model, error, self._failure(choice))

    def _failure(self, choice: Any) -> Failure | None:
        if not isinstance(choice, dict):
            return Failure(CallFault.TRANSIENT, "the server's response has no choices")
        refusal = text_at(choice, "message", "refusal")
        if refusal:
            return Failure(CallFault.FINAL, f"the model refused to answer: {printable(refusal)}")
        match choice.get("finish_reason"):
            case "length":
                cut = f"the answer was cut off by its length limit of {self.answer_tokens} tokens"
                return Failure(CallFault.UNUSABLE, cut)
            case "content_filter":
                return Failure(CallFault.FINAL, "the provider's content filter withheld the answer")
        return None

    def _models(self, model: str | None) -> AbstractAsyncContextManager[Response]:
        models = self._sdk().models.with_streaming_response
        if model is None:
            return models.list(timeout=timeout(CHECK_S))
        return models.retrieve(model, timeout=timeout(CHECK_S))

    def _sdk(self) -> openai.AsyncOpenAI:
        if self._client is None:
            http = openai.DefaultAsyncHttpxClient(**CLIENT)
            self._client = openai.AsyncOpenAI(**self._access(), max_retries=0, http_client=http)
        return self._client

    def _access(self) -> dict[str, Any]:
        """Returns key and address as the SDK's clients take them."""
        return {"api_key": self._key()[1] or "none", "base_url": self.base_url}


@cache
def _strict(schema: type[Value]) -> dict[str, Any]:
    """Returns the schema as the SDK makes it strict, less the rejected keywords."""
    strict = openai.pydantic_function_tool(schema)["function"]["parameters"]
    plain: dict[str, Any] = _plain(strict)
    return plain


def _plain(part: Any) -> Any:
    """Removes the dropped keywords from a part of a schema; names of fields and definitions are not keywords."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        name: {field: _plain(schema) for field, schema in inner.items()}
        if name in ("properties", "$defs")
        else _plain(inner)
        for name, inner in part.items()
        if name not in _DROPPED
    }


def _usage(usage: Any) -> Usage:
    """Converts token counts: some servers leave reasoning out of the completion's tokens, but not out of the total."""
    tokens_in, out = tokens_at(usage, "prompt_tokens"), tokens_at(usage, "completion_tokens")
    total = tokens_at(usage, "total_tokens")
    if tokens_in is not None and out is not None and total is not None:
        out = max(out, total - tokens_in)
    details = at(usage, "prompt_tokens_details")
    return Usage(tokens_in, out, tokens_at(details, "cached_tokens"), tokens_at(details, "cache_write_tokens"))
