"""Puts the pages together into one application, behind the guard."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from agent.errors import LogError
from agent.log.run_log import RunLog
from agent.web import beside, compare, explore, feature, graph_page, labels, overview, reviewing
from agent.web.cache import Cache
from agent.web.guard import SECURITY_HEADERS, Guard
from agent.web.pages import page
from agent.web.site import Site
from eval.graphs.graph import Graph
from probes.errors import InterpretError

if TYPE_CHECKING:  # a type alone: torch is loaded only where a subject is
    from probes.subject import Subject

_STATIC = Path(__file__).parent / "static"


def make_app(
    log: RunLog,
    token: str,
    *,
    read_only: bool = False,
    subject: "Subject | None" = None,
    others: "Sequence[Subject]" = (),
    reviewer: str = "reviewer",
    host: str = "127.0.0.1",
    graph: Graph | None = None,
) -> Starlette:
    """Makes the pages of `log`, open for reading, for holders of `token`; the server listens on `host`.

    `others` are SAEs of other layers of the `subject`'s model.
    """
    pages = (overview, labels, reviewing, feature, explore, beside, compare, graph_page)
    app = Starlette(
        routes=[
            *(route for module in pages for route in module.routes),
            Mount("/static", StaticFiles(directory=_STATIC), name="static"),
        ],
        middleware=[Middleware(Guard, token=token, host=host, read_only=read_only)],
        exception_handlers={HTTPException: _refused, InterpretError: _failed, Exception: _broken},
    )
    subjects = {one.card.fingerprint: one for one in ([subject] if subject else []) + [*others]}
    app.state.site = Site(log, read_only, reviewer, subject, subjects, graph, Cache(log))
    return app


def _refused(request: Request, error: Exception) -> Response:
    """Responds to a page that does not exist, or to a value that cannot be used."""
    assert isinstance(error, HTTPException)
    sentence = "There is no such page." if error.detail == "Not Found" else error.detail
    return page(request, "error.html.j2", error.status_code, sentence=sentence)


def _failed(request: Request, error: Exception) -> Response:
    """Responds if the log cannot be read or written just now, or lacks what was asked for."""
    return page(request, "error.html.j2", 503 if isinstance(error, LogError) else 400, sentence=str(error))


def _broken(request: Request, error: Exception) -> Response:
    """Responds to a fault of ours, beyond the guard; the server's own output has its traceback."""
    sentence = f"This page failed ({type(error).__name__}); the terminal that runs interpret serve has the details."
    response = page(request, "error.html.j2", 500, sentence=sentence)
    response.headers.update(SECURITY_HEADERS)
    return response
