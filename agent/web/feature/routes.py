"""Requests for a feature's page, for its trees, and for its calls."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.log.calls import calls_of
from agent.log.evidence import evidence_rounds
from agent.log.runs import RunSummary
from agent.web.asked import label_of, run_of
from agent.web.device import device_of
from agent.web.feature import history
from agent.web.feature.nearest import MAX_NEAREST
from agent.web.feature.texts import ShadedToken, shaded
from agent.web.feature.view import feature_view
from agent.web.group import group_at
from agent.web.pages import as_json, page
from agent.web.reviewing import review_context
from agent.web.site import Site, site_of
from agent.web.trees import drawing
from probes.errors import InterpretError
from probes.evidence import Tree

MAX_CHARS = 4000
"""Of a text in the box; addresses are not made for more."""


@dataclass(frozen=True)
class TypedTextView:
    """A text that was typed into the page's box, with the feature's activations."""

    text: str
    tokens: tuple[ShadedToken, ...] = ()
    peak: float = 0.0
    fault: str = ""


async def show(request: Request) -> Response:
    """Shows everything about one feature in one run; for a blind reviewer without scores and others' reviews."""
    run = await run_in_threadpool(run_of, request)
    neighbours = await _neighbours(site_of(request), _feature(request), str(run.subject["fingerprint"]))
    typed = await _typed(request, str(run.subject["fingerprint"]))
    return await run_in_threadpool(_shown, request, run, neighbours, typed)


def tree(request: Request) -> Response:
    """Returns one tree, for the script that draws it."""
    run, place = run_of(request), request.path_params
    evidence = (
        site_of(request).log.read(evidence_rounds, run.run_id, request.path_params["feature"]).get(place["round"], [])
    )
    found = evidence[place["item"]] if place["item"] < len(evidence) else None
    if not isinstance(found, Tree):
        raise HTTPException(404, "There is no such tree.")
    return as_json(drawing(found))


def call(request: Request) -> Response:
    """Shows one call: the prompt as sent, the response as received."""
    run, feature = run_of(request), request.path_params["feature"]
    calls = site_of(request).log.read(calls_of, run.run_id, feature)
    found = next((call for call in calls if call.call_id == request.path_params["call"]), None)
    if found is None:
        raise HTTPException(404, f"Feature {feature} has no such call.")
    figures = [history.token_words(found), history.cost_words(found), history.time_words(found)]
    hidden = review_context(request, run, label_of(request, run), feature)["hidden"]
    context = {"run": run, "feature": feature, "call": found, "figures": figures, "hidden": hidden}
    return page(request, "feature_call.html.j2", here="labels", **context)


def _shown(request: Request, run: RunSummary, neighbours: Sequence[int], typed: TypedTextView) -> Response:
    feature = _feature(request)
    view = feature_view(site_of(request).log, run, feature, neighbours)
    if view is None:
        named, asked = group_at(site_of(request), run).address(run.run_id, feature), run.features or "none"
        raise HTTPException(404, f"Run {run.run_id} has nothing on feature {named}; it was asked for {asked}.")
    review = review_context(request, run, view.row, feature)
    explorable = _has_subject(site_of(request), str(run.subject["fingerprint"]))
    return page(request, "feature.html.j2", here="labels", view=view, explorable=explorable, typed=typed, **review)


def _feature(request: Request) -> int:
    """Returns the feature in the address; SQLite holds numbers below 2**63."""
    feature = int(request.path_params["feature"])
    if feature >= 2**63:
        raise HTTPException(404, f"{feature} is not a feature number.")
    return feature


async def _typed(request: Request, fingerprint: str) -> TypedTextView:
    """Reads the text in the address with the loaded subject, if it is the one that the run was about."""
    site, text = site_of(request), request.query_params.get("text", "").replace("\r\n", "\n")  # as forms send it
    if not text or site.subject is None or not _has_subject(site, fingerprint):
        return TypedTextView(text)
    try:
        found = await device_of(site.subject).read(_feature(request), text[:MAX_CHARS])
    except InterpretError as error:
        return TypedTextView(text, fault=str(error))
    return TypedTextView(text, shaded(found.tokens, found.activations), found.peak)


async def _neighbours(site: Site, feature: int, fingerprint: str) -> list[int]:
    """Returns the neighbours by the loaded subject's decoder, if the run was about that subject."""
    if site.subject is None or not _has_subject(site, fingerprint):
        return []
    return await device_of(site.subject).nearest(feature, MAX_NEAREST)


def _has_subject(site: Site, fingerprint: str) -> bool:
    return site.subject is not None and site.subject.card.fingerprint == fingerprint


_AT = "/runs/{run_id:row}/features/{feature:row}"

routes = [
    Route(_AT, show, name="feature"),
    Route(_AT + "/trees/{round:row}/{item:row}.json", tree, name="tree"),
    Route(_AT + "/calls/{call:row}", call, name="call"),
]
