"""One request on the wire through an SDK's client, and whatever came back of it. Knows no provider and no question.

Every fault is a value here: a status, a broken connection, a server that never ends. The SDKs raise errors of their own
classes, but wrap the same HTTP library, so that what happened is read from that library's errors and responses.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote, urlsplit

import httpx2

from agent.errors import ExplainerError
from agent.llm.base import Fault, Form
from agent.llm.bodies import printable
from agent.llm.faults import Failure, from_exception, from_status

MOST_BYTES = 4_000_000
"""No more of a response is read."""
LIMITS = httpx2.Limits(max_connections=1000, max_keepalive_connections=1000)
CONNECT_S = 10.0
WIRE_FAULTS = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, TimeoutError)
"""What the HTTP library raises, beside the errors of an SDK."""
_LEAST_CHARS = 8
"""Shorter credentials stand in ordinary text too often to be looked for."""


@dataclass(frozen=True)
class Reply:
    """What came back of one request."""

    text: str = ""
    """The body, or what there is of it where the connection broke."""
    headers: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    """None where a whole response came, with a status of success."""
    status: int | None = None


class Response(Protocol):
    """What both SDKs make of a response that is still being read."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def status_code(self) -> int: ...

    def iter_bytes(self) -> AsyncIterator[bytes]: ...


class RawResponse(Protocol):
    """What both SDKs make of a response that was read, but not understood."""

    @property
    def http_response(self) -> httpx2.Response: ...


def timeout(seconds: float) -> httpx2.Timeout:
    """For each step of a request; `received` bounds the whole."""
    return httpx2.Timeout(seconds, connect=min(CONNECT_S, seconds))


async def received(
    opened: AbstractAsyncContextManager[Response], form: Form, timeout_s: float, sdk_error: type[Exception]
) -> Reply:
    """What comes back of a request that is sent by entering `opened`, within `timeout_s` from first to last byte."""
    body = bytearray()
    headers: Mapping[str, str] = {}
    status = None
    failure = None
    try:
        async with asyncio.timeout(timeout_s), opened as response:
            headers, status = response.headers, response.status_code
            async for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    failure = Failure(Fault.UNUSABLE, f"the answer is longer than {MOST_BYTES:,} bytes")
                    break
    except (sdk_error, *WIRE_FAULTS) as error:
        refused = _refused(error, form)
        if refused is not None:
            return refused
        failure = from_exception(error, timeout_s)
    return Reply(body.decode("utf-8", "replace"), headers, failure, status)


async def heard(
    asked: Awaitable[RawResponse], timeout_s: float, sdk_error: type[Exception], form: Form = Form.TEXT
) -> Reply:
    """What comes back of a short request that is sent by awaiting `asked`."""
    try:
        response = (await asked).http_response
    except (sdk_error, *WIRE_FAULTS) as error:
        return reply_of(error, timeout_s, form)
    return Reply(response.text, response.headers, status=response.status_code)


def looked_up(ask: Callable[[], RawResponse], timeout_s: float, sdk_error: type[Exception]) -> Reply:
    """What comes back of a short request that is sent by calling `ask`."""
    try:
        response = ask().http_response
    except (sdk_error, httpx2.HTTPError, httpx2.InvalidURL) as error:
        return _refused(error, Form.TEXT) or Reply(failure=from_exception(error, timeout_s))
    return Reply(response.text, response.headers, status=response.status_code)


def reply_of(error: Exception, timeout_s: float, form: Form = Form.TEXT) -> Reply:
    """What came in the place of a whole response."""
    return _refused(error, form) or Reply(failure=from_exception(error, timeout_s))


def _refused(error: Exception, form: Form) -> Reply | None:
    """What a status other than success came with; None where no status came."""
    response = getattr(error, "response", None)
    if not isinstance(response, httpx2.Response):
        return None
    text = response.text[:MOST_BYTES]
    return Reply(text, response.headers, from_status(response.status_code, text, form), response.status_code)


def address_of(base_url: str) -> str:
    """A base URL as it may be shown: without credentials, query and trailing slash. Raises ExplainerError."""
    try:
        parts = urlsplit(base_url.strip())
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts = urlsplit("")
        port = ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = printable(base_url.rpartition("@")[2], 100)
        raise ExplainerError(f"Base URL '{shown}' is not usable; write it like http://localhost:8000/v1.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def credentials_in(base_url: str) -> list[str]:
    """What is secret in a base URL, in every form in which it is sent or may be echoed, the longest first."""
    parts = urlsplit(base_url.strip())
    written = parts.password or parts.username or ""
    if not written:
        return []
    sent = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    forms = {written, unquote(written), json.dumps(unquote(written))[1:-1], base64.b64encode(sent.encode()).decode()}
    return sorted((form for form in forms if len(form) >= _LEAST_CHARS), key=len, reverse=True)
