"""The parts that all pages of one server share: the open log, the reviewer, and what may be done."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from agent.log.run_log import RunLog
from agent.web.cache import Cache
from eval.graphs.graph import Graph

if TYPE_CHECKING:  # a type alone: torch is loaded only where a subject is
    from probes.subject import Subject


@dataclass(frozen=True)
class Site:
    """The state of a server that does not change while it runs."""

    log: RunLog
    """The log, open for reading."""
    read_only: bool
    reviewer: str
    """The reviewer whose reviews are written."""
    subject: "Subject | None"
    """The subject of the explore page; None if none was loaded."""
    subjects: "Mapping[str, Subject]"
    """All that were loaded, by fingerprint: the same model with SAEs of several layers."""
    graph: Graph | None
    """The attribution graph whose nodes are shown; None if none was given."""
    cache: Cache
    """Results counted over whole runs."""


def site_of(request: Request) -> Site:
    """Returns the site that a request came to."""
    site: Site = request.app.state.site
    return site
