"""One request on the wire through an SDK's client, and whatever came back of it. Knows no provider and no question.

Every fault is a value here: a status, a broken connection, a server that never ends. The SDKs raise errors of their own
classes, but wrap the same HTTP library, so that what happened is read from that library's errors and responses.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import httpx2

from agent.errors import ExplainerError
from agent.llm.base import AnswerForm, CallFault
from agent.llm.bodies import printable_error
from agent.llm.faults import Failure, from_exception, from_status

MAX_BYTES = 4_000_000
"""No more of a response is read, whatever its status and however small it is on the wire."""
CONNECT_S = 10.0
_WHOLE = "whole"
"""The name under which a response keeps its reading without a bound."""
_MIN_CHARS = 8
"""Shorter credentials stand in ordinary text too often to be looked for."""


@dataclass(frozen=True)
class WireReply:
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

    @property
    def http_response(self) -> httpx2.Response: ...

    def iter_bytes(self) -> AsyncIterator[bytes]: ...


def timeout(seconds: float) -> httpx2.Timeout:
    """For each step of a request; `received` bounds the whole."""
    return httpx2.Timeout(seconds, connect=min(CONNECT_S, seconds))


async def bounded(response: httpx2.Response) -> None:
    """A hook of the HTTP client: of a body no more is read than `MAX_BYTES` and the chunk in which they end.

    Everything that reads a body does so by `aiter_bytes`, the SDKs' reading of error bodies included, and a small gzip
    may be gigabytes.
    """
    whole = response.extensions[_WHOLE] = response.aiter_bytes

    async def begun(chunk_size: int | None = None) -> AsyncGenerator[bytes, None]:
        n = 0
        async with aclosing(whole(chunk_size)) as chunks:
            async for chunk in chunks:
                yield chunk
                n += len(chunk)
                if n > MAX_BYTES:
                    return

    response.aiter_bytes = begun  # type: ignore[method-assign]


def chunks_of(response: Response) -> AsyncIterator[bytes]:
    """The body of a response as it comes, without a bound: for whoever keeps little of it and counts."""
    chunks: AsyncIterator[bytes] = response.http_response.extensions[_WHOLE]()
    return chunks


CLIENT: Mapping[str, Any] = {
    "limits": httpx2.Limits(max_connections=1000, max_keepalive_connections=1000),
    "follow_redirects": False,
    "event_hooks": {"response": [bounded]},
}
"""What the HTTP client of every provider is made with."""


async def received(
    opened: AbstractAsyncContextManager[Response], form: AnswerForm, timeout_s: float, sdk_error: type[Exception]
) -> WireReply:
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
        if len(body) > MAX_BYTES:
            failure = Failure(CallFault.UNUSABLE, f"the answer is longer than {MAX_BYTES:,} bytes")
    except Exception as error:  # whatever an SDK, a codec or a server does ends here
        instead = reply_to(error, form, timeout_s, sdk_error)
        if instead.status is not None:
            return instead
        failure = instead.failure
    return WireReply(_text(body), headers, failure, status)


def reply_to(error: Exception, form: AnswerForm, timeout_s: float, sdk_error: type[Exception]) -> WireReply:
    """What came in the place of a whole response: a status other than success, and what came with it, or none."""
    response = getattr(error, "response", None) if isinstance(error, sdk_error) else None
    if not isinstance(response, httpx2.Response):
        return WireReply(failure=from_exception(error, timeout_s))
    text = _text(response.content)
    return WireReply(text, response.headers, from_status(response.status_code, text, form), response.status_code)


def _text(body: bytes | bytearray) -> str:
    """As UTF-8, whatever the server calls it: JSON is nothing else, and some of Python's codecs take hours."""
    return body[:MAX_BYTES].decode("utf-8", "replace")


def address_of(base_url: str) -> str:
    """A base URL as it may be shown: without credentials, query and trailing slash. Raises ExplainerError."""
    try:
        parts = urlsplit(base_url.strip())
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts = urlsplit("")
        port = ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = printable_error(base_url.rpartition("@")[2], 100)
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
    return sorted((form for form in forms if len(form) >= _MIN_CHARS), key=len, reverse=True)
