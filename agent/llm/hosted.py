"""Base of hosted explainers: keys, addresses, checks, bounds, the exchange.

A provider defines its requests and answers by the abstract methods at the end.
"""

import asyncio
import json
import os
import time
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from agent.errors import ExplainerError
from agent.llm.base import Answer, AnswerForm, Bound, CallFault, Exchange, Request, Usage
from agent.llm.batching import BATCH_PRICE, UNREAD, BatchApi, ResultLine
from agent.llm.bodies import items_at, json_of, printable, text_at
from agent.llm.faults import Failure, from_error, from_line, pause_s, retry_after_s
from agent.llm.models import DEFAULTS, deprecated_models, nearest_models
from agent.llm.parsing import UnusableAnswer, parsed
from agent.llm.prices import cost_usd, highest_cost_usd
from agent.llm.wire import Response, WireReply, address_of, credentials_in, received, reply_to
from agent.secrets import BLANK, without_held_secrets, without_secrets
from probes.settings import Value

ADDED_TOKENS = 2000
"""Maximum tokens that a provider itself adds to a request: message framing, instructions for a schema."""
CHECK_S = 10.0
TIMEOUT_S = 120.0
SLOW_TIMEOUT_S = 600.0
"""Timeout at other addresses, where a model may run on the user's own slow hardware."""
SCHEMA = "\n\nAnswer with one JSON object of this schema:\n\n"
"""Introduces the schema after the system prompt if the form does not enforce it."""
JSON_ALONE = "\n\nAnswer with the JSON object alone: no other text, no code fence."
"""Ends such a question."""
_NAMED_MODELS = 5
_NAME_CHARS = 200


class RequestText(NamedTuple):
    """The texts of a request as sent."""

    system: str
    prompt: str


def worded(request: Request, form: AnswerForm) -> RequestText:
    """Returns the request's texts, with the schema of its answer if the form does not pass it separately.

    The schema goes behind the system prompt, which many requests share, so that a provider's cache can keep both.
    """
    if form is AnswerForm.SCHEMA:
        return RequestText(request.system, request.prompt)
    schema = json.dumps(request.schema.model_json_schema(), separators=(",", ":"))
    return RequestText(request.system + SCHEMA + schema, request.prompt + JSON_ALONE)


@dataclass(frozen=True)
class ResponseContent:
    """Content of a response's body, as a provider parses it."""

    text: str = ""
    """The model's own words."""
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    """The model that answered."""
    error: Any = None
    """The server's error, if it sends one with a success status."""
    failure: Failure | None = None


class Hosted(ABC):
    """An explainer behind HTTP."""

    provider: str
    forms: tuple[AnswerForm, ...]
    own_address: str
    """The provider's own address."""
    usual_path: str
    """Usual end of other servers' base URLs."""
    base_variable: str
    key_variables: tuple[str, ...]
    """Environment variables that may hold the key; messages name the first."""
    sdk_error: type[Exception]
    """Base class of the SDK's errors."""

    def __init__(
        self,
        model: str,
        base_url: str = "",
        answer_tokens: int = 4096,
        effort: str | None = None,
        timeout_s: float | None = None,
        batch: bool = False,
    ) -> None:
        """Takes a model, or an empty string for the provider's default (at another address, `model_of_server`'s).

        `timeout_s` None: `TIMEOUT_S` where the provider itself answers, else `SLOW_TIMEOUT_S`. With `batch`, bounds and
        prices are those of batches.
        """
        self.base_url = base_url or os.environ.get(self.base_variable) or self.own_address
        shown = address_of(self.base_url)
        self.address = "" if shown == self.own_address else shown
        self._credentials = credentials_in(self.base_url)
        self.model = model or ("" if self.address else DEFAULTS[self.provider])
        self.answer_tokens = answer_tokens
        self.effort = effort
        self.timeout_s = timeout_s or (SLOW_TIMEOUT_S if self.address else TIMEOUT_S)
        self.batch = batch
        self._require_key()

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        """Answers `request` by one HTTP request; faults are in the answer."""
        form = form or self.forms[0]
        started = time.perf_counter()
        timeout_s = self.timeout_s * request.timeout_factor
        reply = await received(self._opened(request, form, timeout_s), form, timeout_s, self.sdk_error)
        duration_ms = 1000 * (time.perf_counter() - started)
        return self._answer(reply, self._reading(reply, form), request.schema, form, duration_ms)

    def answer_to(self, line: ResultLine, schema: type[Value] | None, form: AnswerForm) -> Answer:
        """Parses a result of a batch; without a schema it is stored unread."""
        failure = None if line.status < 400 else from_line(line.status, line.body, form)
        reply = WireReply(line.body, failure=failure, status=line.status)
        reading = self._reading(reply, form)
        if schema is None and reading.failure is None:
            reading = replace(reading, failure=UNREAD)
        return self._answer(reply, reading, schema or Value, form, None, batch=True)

    async def heard(self, opened: AbstractAsyncContextManager[Response], timeout_s: float) -> WireReply:
        """Sends a request other than a question and returns its reply, without secrets."""
        return self._clean(await received(opened, AnswerForm.TEXT, timeout_s, self.sdk_error))

    def instead(self, error: Exception, timeout_s: float) -> WireReply:
        """Returns the reply for an exception raised in place of a whole response, without secrets."""
        return self._clean(reply_to(error, AnswerForm.TEXT, timeout_s, self.sdk_error))

    def _clean(self, reply: WireReply) -> WireReply:
        failure = reply.failure and replace(reply.failure, sentence=self._blanked(reply.failure.sentence))
        return replace(reply, text=self._blanked(reply.text), failure=failure)

    def _answer(
        self,
        reply: WireReply,
        reading: ResponseContent,
        schema: type[Value],
        form: AnswerForm,
        duration_ms: float | None,
        batch: bool = False,
    ) -> Answer:
        value, failure = self._value(reading, schema)
        exchange = Exchange(
            provider=self.provider,
            model=self.model,
            response=self._told_by(reply, reading),
            usage=reading.usage,
            cost_usd=self._price(reading.usage, reading.model, batch),
            duration_ms=duration_ms,
            error=None if failure is None else self._blanked(failure.sentence),
            fault=None if failure is None else failure.fault,
            form=form,
            resolved_model=None if reading.model is None else self._blanked(reading.model),
            status=reply.status,
            timed_out=failure is not None and failure.timed_out,
            retry_after_s=None if failure is None else retry_after_s(reply.headers),
            pause_s=pause_s(reply.headers, reading.usage),
            batch=batch,
        )
        return Answer(value, exchange)

    def bound(self, request: Request) -> Bound:
        """Bounds the input tokens by the bytes sent: a token has at least one byte."""
        sent = "".join(worded(request, AnswerForm.TEXT)) + json.dumps(self._schema(request.schema))
        input_tokens = len(sent.encode("utf-8", "replace")) + ADDED_TOKENS
        cost = highest_cost_usd(self.provider, self.address, self.model, input_tokens, self.answer_tokens)
        return Bound(input_tokens + self.answer_tokens, None if cost is None else cost * self._share(self.batch))

    def cost_usd(self, usage: Usage) -> float | None:
        """Returns the cost of `usage` in US dollars, at the batch price if this explainer asks in batches."""
        return self._price(usage, None, self.batch)

    def _price(self, usage: Usage, answered: str | None, batch: bool) -> float | None:
        """Prices by the model that `answered`; if that has no price, by the one asked for."""
        costs = (cost_usd(self.provider, self.address, model, usage) for model in (answered, self.model) if model)
        return next((cost * self._share(batch) for cost in costs if cost is not None), None)

    def _share(self, batch: bool) -> float:
        return BATCH_PRICE if batch else 1.0

    def check(self) -> str:
        """Returns a note on the model after a free request. Raises ExplainerError if no question would be answered."""
        if self.address:
            return self._note_on_list(self._listed())
        reply = self._looked_up(self.model)
        if reply.status == 404:
            like = ", ".join(nearest_models(self.provider, self.model))
            raise ExplainerError(f"{self.provider} has no model {self.model!r}; known ones with like names: {like}.")
        self._require_service(reply)
        if reply.failure is not None:
            return f"whether {self.provider} has model {self.model} could not be checked ({self._told(reply)})"
        if self.model in deprecated_models(self.provider):
            return f"{self.provider} has announced the end of model {self.model}"
        return ""

    def model_of_server(self) -> str:
        """Finds the model of a server at another address if none was named: its only one, or the provider's default.

        Raises ExplainerError where there is more than one, or no list.
        """
        listed = self._listed()
        if len(listed) == 1:
            return listed[0]
        default = DEFAULTS[self.provider]
        if default in listed:
            return default
        what = f"offers {_some(listed)}" if listed else "lists no models"
        raise ExplainerError(f"The server at {self.address} {what}; name one, as in --llm {self.provider}:MODEL.")

    def resolved(self) -> Self:
        """Returns this explainer with a model, if need be the one that `model_of_server` finds."""
        self.model = self.model or self.model_of_server()
        return self

    def _listed(self) -> list[str]:
        """Lists the server's models; empty if it has no list. Raises ExplainerError."""
        reply = self._looked_up(None)
        self._require_service(reply)
        entries = items_at(json_of(reply.text), "data") if reply.failure is None else []
        return [self._blanked(printable(name, _NAME_CHARS)) for entry in entries if (name := text_at(entry, "id"))]

    def _looked_up(self, model: str | None) -> WireReply:
        """Asks the server for a model, or for its list of models, over a separate connection."""

        async def reply() -> WireReply:
            try:
                return await received(self._models(model), AnswerForm.TEXT, CHECK_S, self.sdk_error)
            finally:
                await self.close()

        return asyncio.run(reply())

    def _note_on_list(self, listed: list[str]) -> str:
        if not listed and not urlsplit(self.base_url).path.endswith(self.usual_path):
            return f"the server at {self.address} lists no models; most want a base URL that ends in {self.usual_path}"
        if not listed or self.model in listed:
            return ""
        return f"the server at {self.address} lists no model {self.model!r}; it has {_some(listed)}"

    def _require_service(self, reply: WireReply) -> None:
        """Raises ExplainerError if the server cannot be reached or refuses access."""
        where = self.address or self.own_address
        if reply.failure is None:
            return
        if reply.status is None:
            raise ExplainerError(f"No server answers at {where}: {self._told(reply)}.")
        if reply.status in (401, 402, 403):
            raise ExplainerError(
                f"{where} refuses the key in {' or '.join(self.key_variables)}: {self._told(reply).rstrip('.')}."
            )

    def _told(self, reply: WireReply) -> str:
        return self._blanked(reply.failure.sentence) if reply.failure else ""

    def _require_key(self) -> None:
        """Raises ExplainerError if a key is needed and missing, or cannot be sent."""
        variable, key = self._key()
        if not key and not self.address:
            raise ExplainerError(
                f"{self.provider} needs a key: set {self.key_variables[0]}, or use --llm offline, which needs none."
            )
        if not (key.isascii() and key.isprintable() and " " not in key):
            raise ExplainerError(f"The key in {variable} holds a space, a line break or another character no key has.")

    def _key(self) -> tuple[str, str]:
        """Returns the variable that holds a key, and the key; empty strings if none does."""
        held = ((name, os.environ.get(name, "").strip()) for name in self.key_variables)
        return next(((name, key) for name, key in held if key), ("", ""))

    def _reading(self, reply: WireReply, form: AnswerForm) -> ResponseContent:
        if reply.failure is not None:
            return ResponseContent(failure=reply.failure)
        body = json_of(reply.text)
        if not isinstance(body, dict):
            return ResponseContent(failure=Failure(CallFault.TRANSIENT, "the server's response is no JSON object"))
        reading = self._read(body)
        return replace(reading, failure=from_error(reading.error, form)) if reading.error else reading

    def _value(self, reading: ResponseContent, schema: type[Value]) -> tuple[Value | None, Failure | None]:
        """Parses the model's text, or says why it cannot be used. Keys that a server echoes are blanked."""
        if reading.failure is not None:
            return None, reading.failure
        try:
            value = parsed(self._blanked(reading.text), schema)
            said = value.model_dump_json()
            blanked = self._blanked(said)  # JSON may have escaped them before
            return (value if blanked == said else parsed(blanked, schema)), None
        except UnusableAnswer as error:
            return None, Failure(CallFault.UNUSABLE, str(error))

    def _told_by(self, reply: WireReply, reading: ResponseContent) -> str:
        """Returns the body as logged: a model's text without known secrets, an error without anything like a key."""
        is_error = reading.error or reply.status is None or reply.status >= 300
        text = self._blanked(reply.text)
        return without_secrets(text) if is_error else text

    def _blanked(self, text: str) -> str:
        """Returns `text` without the secrets of this process and of the base URL."""
        for secret in self._credentials:
            text = text.replace(secret, BLANK)
        return without_held_secrets(text)

    @abstractmethod
    def batching(self) -> BatchApi:
        """Returns this provider's API for batches."""

    @abstractmethod
    def _opened(self, request: Request, form: AnswerForm, timeout_s: float) -> AbstractAsyncContextManager[Response]:
        """Returns the request, ready to be sent."""

    @abstractmethod
    def _schema(self, schema: type[Value]) -> dict[str, Any]:
        """Returns the schema of the answers as this provider takes it."""

    @abstractmethod
    def _read(self, body: dict[str, Any]) -> ResponseContent:
        """Parses a response body of this provider."""

    @abstractmethod
    def _models(self, model: str | None) -> AbstractAsyncContextManager[Response]:
        """Returns a request for a model, or for the list of models, ready to be sent; its timeout is `CHECK_S`."""

    @abstractmethod
    async def close(self) -> None:
        """Closes connections."""


def _some(names: list[str]) -> str:
    """Lists the first few names and the number of others."""
    more = len(names) - _NAMED_MODELS
    return ", ".join(names[:_NAMED_MODELS]) + (f" and {more} more" if more > 0 else "")
