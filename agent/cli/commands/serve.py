"""`interpret serve`: the pages over one log, on a port of this machine, until Ctrl-C.

The pages are in `agent.web`; torch is imported only if a subject is named.
"""

import errno
import os
import secrets
import socket
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from html import escape
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
import uvicorn

from agent.cli.commands.layers import by_layer
from agent.cli.commands.reviewer import reviewer_name
from agent.config import RunConfig
from agent.errors import LogError, ServeError
from agent.log.run_log import RunLog
from agent.web.server import make_app
from eval.graphs.graph import read_graph

if TYPE_CHECKING:  # a type alone: torch is loaded only where a subject is
    from probes.subject import Subject

_STOP_S = 2
"""How long open answers may take to end after Ctrl-C."""


@dataclass(frozen=True)
class ServerOptions:
    """The address and the reviewer for whom pages are served."""

    host: str
    port: int
    """0 for any free one."""
    read_only: bool
    opens: bool
    """True to open a browser, where there is a display."""
    reviewer: str | None
    """None stands for the system's user."""
    graph: Path | None = None
    """The attribution graph whose nodes are shown."""


def serve(configs: Sequence[RunConfig], place: ServerOptions, with_subject: bool) -> int:
    """Serves until it is stopped; the exit status. Raises LogError, ServeError, and what loading a subject raises.

    `configs` are of SAEs of one model's layers; the explore page is of the first.
    """
    config, token = configs[0], secrets.token_urlsafe(32)
    with ExitStack() as stack:
        log = stack.enter_context(_open(config.log, place.read_only))
        listening = stack.enter_context(_listening(place))
        subjects = _subjects(configs) if with_subject else []
        app = make_app(
            log,
            token,
            read_only=place.read_only,
            subject=next(iter(subjects), None),
            others=subjects[1:],
            reviewer=reviewer_name(place.reviewer),
            host=place.host,
            graph=None if place.graph is None else read_graph(place.graph),
        )
        address = f"http://{_shown_host(place.host)}:{listening.getsockname()[1]}/?token={quote(token)}"
        _tell(config.log, address, place)
        if place.opens and _has_display():
            stack.enter_context(_browser(address))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                access_log=False,  # addresses have the token in them
                log_config=None,
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=_STOP_S,
            )
        )
        with suppress(KeyboardInterrupt):  # uvicorn has ended what was open, and passes the signal on
            server.run(sockets=[listening])
        click.echo("Stopped.")
    return 0


def _open(path: Path, read_only: bool) -> RunLog:
    """Opens the log for reading; one of an older version is brought up to date if reviews are written."""
    if not read_only and path.is_file():
        if not all(os.access(one, os.W_OK) for one in (path, path.parent)):
            raise LogError(f"The log {path} cannot be written, so no reviews are kept: add --read-only to look at it.")
        RunLog.open(path).close()
    return RunLog.open(path, read_only=True)


def _subjects(configs: Sequence[RunConfig]) -> "list[Subject]":
    """Returns a subject for each SAE; they share the model."""
    from probes.subject import load_subject

    if len(configs) > 1:
        by_layer(configs)  # says where two are of one layer
    first = load_subject(configs[0].subject)
    return [first, *(load_subject(config.subject, first) for config in configs[1:])]


@contextmanager
def _listening(place: ServerOptions) -> Iterator[socket.socket]:
    """Returns a socket that listens there. Raises ServeError."""
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    with socket.socket(family) as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((place.host, place.port))
            found.listen()
        except OSError as error:
            raise ServeError(_refusal(place, error)) from error
        yield found


def _refusal(place: ServerOptions, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {place.port} is in use; choose another with --port, or leave --port out for any free one."
    if error.errno == errno.EACCES:
        return f"Port {place.port} may not be used by this user; choose one above 1023 with --port."
    return f"No pages can be served at {place.host} ({error.strerror or error}); leave --host out for this machine."


def _tell(path: Path, address: str, place: ServerOptions) -> None:
    """Prints the address on a line of its own, unbroken at any width."""
    mode = "for reading only" if place.read_only else f"reviews are written as {reviewer_name(place.reviewer)}"
    click.echo(f"Pages over {path}, {mode}; Ctrl-C stops them:")
    click.echo(f"    {address}")
    if not _is_loopback(place.host):
        click.echo(
            f"Warning: with --host {place.host} others can reach these pages if they have that address, and nothing is "
            "encrypted on its way; a tunnel (ssh -L) needs no --host."
        )


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _has_display() -> bool:
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return "SSH_CONNECTION" not in os.environ


@contextmanager
def _browser(address: str) -> Iterator[None]:
    """Opens a browser through a file that only this user can read: everyone on a machine sees what commands are run
    with, and the token is not for everyone."""
    with NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(address)}">')
        file.flush()
        webbrowser.open(Path(file.name).as_uri())
        yield
