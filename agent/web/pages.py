"""Renders templates to pages and values to JSON: the only way out, which makes every text from outside plain.

Whatever a template prints goes through `printable` (nothing hidden, nothing reordered), then through HTML escaping.
"""

import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from agent.evidence.printable import printable
from agent.log.naming import log_option, options_about
from agent.log.run_log import RunLog
from agent.log.runs import latest_labelled
from agent.web.asked import is_blind
from agent.web.group import group_at
from agent.web.site import Site, site_of

_FOLDER = Path(__file__).parent / "templates"


def page(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Renders `template`, such as `labels.html.j2`, with `context` and the variables of `base.html.j2`.

    A page about one run gives it as `run`, and has its `group` and `address_of` its features; any page may name its
    place in the navigation as `here`. Commands on pages end with the `options_about` their run, or with `log_option`.
    """
    site = site_of(request)
    common = {"run": None, "here": "", "site": site, "path": request.url.path, "blind": is_blind(request)}
    filled = common | context
    run = filled["run"]
    filled["nav_run_id"] = run.run_id if run else _latest_run_id(site, filled["here"])
    filled["group"] = group_at(site, run) if run else None
    filled["log_option"] = log_option(site.log.path)
    filled["options_about"] = partial(options_about, site.log.path)
    filled["address_of"] = partial(filled["group"].address, run.run_id) if run else str
    return HTMLResponse(environment().get_template(template).render(filled), status_code=status)


def _latest_run_id(site: Site, here: str) -> int | None:
    """Returns the run that pages about no run link to; pages of errors do not ask the log."""
    return site.cache(_latest_labelled) if here else None


def _latest_labelled(log: RunLog) -> int | None:
    return log.read(latest_labelled)


def as_json(value: Mapping[str, Any], status: int = 200) -> Response:
    """Returns `value` as JSON in ASCII, which can hold any text, lone surrogates too."""
    return Response(json.dumps(value, allow_nan=False), status_code=status, media_type="application/json")


@cache
def environment() -> Environment:
    """Returns the templates' environment. `text | lines` keeps line ends (for `pre` and `textarea`); else all is one
    line.
    """
    found = Environment(
        loader=FileSystemLoader(_FOLDER, encoding="utf-8"),
        undefined=StrictUndefined,
        autoescape=True,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {"lines": _lines, "cut": cut, "rounded": _rounded, "count": _count}
    return found


def cut(text: str, most: int) -> str:
    """Returns `text`, or its beginning with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _finalized(value: Any) -> Any:
    """Makes a printed value safe to read; called by Jinja before escaping."""
    if isinstance(value, Markup | Undefined | int | float):
        return value
    return printable(str(value))


def _lines(text: str) -> Markup:
    return Markup("\n").join(escape(printable(line)) for line in text.split("\n"))


def _rounded(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"
