"""Sends one HTTP request through an SDK's client and returns the reply.

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
"""Maximum bytes read of a response, after decompression and whatever its status."""
CONNECT_S = 10.0
_WHOLE = "whole"
"""Key under which a response keeps its unbounded reader."""
_MIN_CHARS = 8
"""Minimum length of credentials that are searched for: shorter ones occur in ordinary text."""


@dataclass(frozen=True)
class WireReply:
    """The reply to one request."""

    text: str = ""
    """The body; incomplete if the connection broke."""
    headers: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None
    """None if a whole response came, with a success status."""
    status: int | None = None


class Response(Protocol):
    """A response that is still being read; the interface that both SDKs share."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def status_code(self) -> int: ...

    @property
    def http_response(self) -> httpx2.Response: ...

    def iter_bytes(self) -> AsyncIterator[bytes]: ...


def timeout(seconds: float) -> httpx2.Timeout:
    """Returns the timeout for each step of a request; `received` bounds the whole."""
    return httpx2.Timeout(seconds, connect=min(CONNECT_S, seconds))


async def bounded(response: httpx2.Response) -> None:
    """Bounds a body, as a hook of the HTTP client: at most `MAX_BYTES` and the rest of a chunk are read.

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
    """Yields the body of a response without a bound, for callers that count bytes and keep few."""
    chunks: AsyncIterator[bytes] = response.http_response.extensions[_WHOLE]()
    return chunks


CLIENT: Mapping[str, Any] = {
    "limits": httpx2.Limits(max_connections=1000, max_keepalive_connections=1000),
    "follow_redirects": False,
    "event_hooks": {"response": [bounded]},
}
"""Arguments for every provider's HTTP client."""


async def received(
    opened: AbstractAsyncContextManager[Response], form: AnswerForm, timeout_s: float, sdk_error: type[Exception]
) -> WireReply:
    """Sends a request by entering `opened` and returns its reply, within `timeout_s` from first to last byte."""
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
    """Converts an exception to a reply: an error status with its body, or a failure without a response."""
    response = getattr(error, "response", None) if isinstance(error, sdk_error) else None
    if not isinstance(response, httpx2.Response):
        return WireReply(failure=from_exception(error, timeout_s))
    text = _text(response.content)
    return WireReply(text, response.headers, from_status(response.status_code, text, form), response.status_code)


def _text(body: bytes | bytearray) -> str:
    """Decodes as UTF-8, whatever the server declares: JSON is always UTF-8, and some of Python's codecs take hours."""
    return body[:MAX_BYTES].decode("utf-8", "replace")


def address_of(base_url: str) -> str:
    """Returns a base URL fit to be shown: without credentials, query and trailing slash. Raises ExplainerError."""
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
    """Returns the secrets in a base URL, in every form in which they may be sent or echoed, the longest first."""
    parts = urlsplit(base_url.strip())
    written = parts.password or parts.username or ""
    if not written:
        return []
    sent = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    forms = {written, unquote(written), json.dumps(unquote(written))[1:-1], base64.b64encode(sent.encode()).decode()}
    return sorted((form for form in forms if len(form) >= _MIN_CHARS), key=len, reverse=True)
