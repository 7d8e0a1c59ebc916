"""Decides who may read and write: the middleware in front of every route.

A random token in the address that was printed sets a cookie; without it there is nothing but a refusal, since others
may be logged in on the same machine. A foreign `Host` is refused (DNS rebinding), and so is a write that another site's
page sent.
"""

import hashlib
import re
import secrets
import socket
from html import escape
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import URL, Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "frame-src https://www.neuronpedia.org https://neuronpedia.org; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Nothing to other sites. Not `no-referrer`: under that a browser calls the origin of our own forms "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_READING = ("GET", "HEAD")
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::", "")
_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z](?:[0-9A-Za-z_.-]*[0-9A-Za-z])?))(?::(?P<port>[0-9]{1,5}))?"
)
"""RFC 9110's `uri-host [ ":" port ]`, of names that machines have."""
_LAST_PORT = 65535
_ONWARD = (
    '<!doctype html><title>interpret</title><meta http-equiv="refresh" content="0;url={0}"><a href="{0}">Go on</a>'
)


class Guard:
    """Admits requests with the token, to a known host and, if they write, from our own pages."""

    def __init__(self, app: ASGIApp, token: str, host: str, read_only: bool) -> None:
        self._app = app
        self._token = token
        self._host = host
        self._read_only = read_only
        # Browsers share cookies among the ports of a host: each server's has a name of its own.
        self._cookie = f"interpret_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            answer = self._refusal(scope) or self._admission(scope) or self._app
            await answer(scope, receive, _secured(send))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not known_host(hosts[0], self._host):
            return PlainTextResponse("This server does not answer to that host name.", 403)
        if scope["method"] in _READING:
            return None
        if self._read_only:
            return PlainTextResponse("These pages were opened with --read-only: nothing can be written.", 403)
        return None if _own_page(headers, scope) else PlainTextResponse("Another site's page may not write here.", 403)

    def _admission(self, scope: Scope) -> Response | None:
        """Returns None for a request with the cookie, a redirect that sets it for one with the token, or a refusal."""
        request = Request(scope)
        if self._same(_cookie(request.headers, self._cookie)):
            return None
        if scope["method"] in _READING and self._same(request.query_params.get("token", "")):
            return self._welcome(request.url, request.headers)
        return PlainTextResponse("Open the address that `interpret serve` printed: it has the token.", 403)

    def _welcome(self, url: URL, headers: Headers) -> Response:
        kept = [(name, value) for name, value in parse_qsl(url.query, keep_blank_values=True) if name != "token"]
        # One slash: two would begin the name of another host.
        place = "/" + url.path.lstrip("/") + (f"?{urlencode(kept)}" if kept else "")
        # A browser that another page sent here (a mail, the file that opened it) withholds a strict cookie from the
        # whole chain of redirects, but not from what our own page asks for.
        sent_here = headers.get("sec-fetch-site") not in (None, "none", "same-origin")
        response = HTMLResponse(_ONWARD.format(escape(place))) if sent_here else RedirectResponse(place, 303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return response

    def _same(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


def known_host(header: str, bound: str) -> bool:
    """Tests if a `Host` header is a name under which the server was told to be known.

    A server that listens on every address also answers to the machine's own names and to addresses in figures: a name
    is needed to lure a browser here.
    """
    name = host_name(header)
    if name is None:
        return False
    if name in (*_LOCAL_NAMES, bound.lower()):
        return True
    own = (socket.gethostname().lower(), socket.getfqdn().lower())
    return bound in _EVERYWHERE and (_is_address(name) or name in own)


def host_name(header: str) -> str | None:
    """Returns the name in lower case, or the address without brackets; None for more than a name and a port.

    The header is read to the last character: a rest (`[::1]evil`, `me@localhost`, `localhost/x`) is an attack.
    """
    found = _HOST.fullmatch(header)
    if found is None or int(found["port"] or 0) > _LAST_PORT:
        return None
    if found["address"] is None:
        return found["name"].lower()
    return found["address"].lower() if _is_address(found["address"]) else None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _own_page(headers: Headers, scope: Scope) -> bool:
    """Tests if a browser says that a page of this very server sent the request; silence is a no."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if (site is None and origin is None) or len(headers.getlist("origin")) > 1:
        return False
    ours = f"{scope['scheme']}://{headers.get('host', '')}"
    return site in (None, "same-origin") and origin in (None, ours)


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _secured(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(SECURITY_HEADERS)
        await send(message)

    return wrapped
