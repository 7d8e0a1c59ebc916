"""Requests for a feature's page, for its trees, and for its calls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from agent.web.feature.other_layers import NearInLayer, labelled_in_layers, nearest_elsewhere, other_layers
from agent.web.feature.picture import card_of
from agent.web.feature.texts import ShadedToken, shaded
from agent.web.feature.view import FeaturePage, feature_view
from agent.web.group import group_at
from agent.web.pages import as_json, page
from agent.web.reviewing import review_context
from agent.web.site import Site, site_of
from agent.web.trees import drawing
from probes.errors import InterpretError
from probes.evidence import Tree

if TYPE_CHECKING:  # a type alone: the server imports torch with a subject only
    from probes.subject import Subject

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
    subject = site_of(request).subjects.get(str(run.subject["fingerprint"]))
    subject = subject if subject is not None and _feature(request) < subject.card.n_features else None
    neighbours = [] if subject is None else await device_of(subject).nearest(_feature(request), MAX_NEAREST)
    in_layers = [] if subject is None else await _in_layers(site_of(request), subject, run, _feature(request))
    typed = await _typed(request, subject)
    return await run_in_threadpool(_shown, request, run, neighbours, in_layers, typed)


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


def picture(request: Request) -> Response:
    """Returns the page in one picture, to be passed on."""
    from agent.drawing.card import card_png  # with matplotlib, which no page needs

    run, feature = run_of(request), _feature(request)
    view = _view(request, run, ())
    review = review_context(request, run, view.row, feature)
    address = group_at(site_of(request), run).address(run.run_id, feature)
    card = card_of(view, str(address), review["wording"], review["hidden"])
    return Response(card_png(card), media_type="image/png")


def _shown(
    request: Request,
    run: RunSummary,
    neighbours: Sequence[int],
    in_layers: Sequence[NearInLayer],
    typed: TypedTextView,
) -> Response:
    view = _view(request, run, neighbours)
    review = review_context(request, run, view.row, view.feature)
    subject, fingerprint = site_of(request).subject, str(run.subject["fingerprint"])
    return page(
        request,
        "feature.html.j2",
        here="labels",
        view=view,
        in_layers=in_layers,
        explorable=subject is not None and subject.card.fingerprint == fingerprint,
        readable=fingerprint in site_of(request).subjects,
        typed=typed,
        **review,
    )


def _view(request: Request, run: RunSummary, neighbours: Sequence[int]) -> FeaturePage:
    """Returns what the log has on the feature in the address. Raises HTTPException, not found."""
    feature = _feature(request)
    view = feature_view(site_of(request).log, run, feature, neighbours)
    if view is None:
        named, asked = group_at(site_of(request), run).address(run.run_id, feature), run.features or "none"
        raise HTTPException(404, f"Run {run.run_id} has nothing on feature {named}; it was asked for {asked}.")
    return view


def _feature(request: Request) -> int:
    """Returns the feature in the address; SQLite holds numbers below 2**63."""
    feature = int(request.path_params["feature"])
    if feature >= 2**63:
        raise HTTPException(404, f"{feature} is not a feature number.")
    return feature


async def _typed(request: Request, subject: "Subject | None") -> TypedTextView:
    """Reads the text in the address with the subject that the run was about, if it is loaded."""
    text = request.query_params.get("text", "").replace("\r\n", "\n")  # as forms send it
    if not text or subject is None:
        return TypedTextView(text)
    try:
        found = await device_of(subject).read(_feature(request), text[:MAX_CHARS])
    except InterpretError as error:
        return TypedTextView(text, fault=str(error))
    return TypedTextView(text, shaded(found.tokens, found.activations), found.peak)


async def _in_layers(site: Site, subject: "Subject", run: RunSummary, feature: int) -> list[NearInLayer]:
    """Returns the nearest features of those layers of the run's command whose SAEs are loaded too."""
    others = await run_in_threadpool(other_layers, site, run)
    if not others:
        return []
    near = await device_of(subject).on_thread(lambda: nearest_elsewhere(subject, feature, others))
    return await run_in_threadpool(labelled_in_layers, site.log, group_at(site, run), near)


_AT = "/runs/{run_id:row}/features/{feature:row}"

routes = [
    Route(_AT, show, name="feature"),
    Route(_AT + "/trees/{round:row}/{item:row}.json", tree, name="tree"),
    Route(_AT + "/calls/{call:row}", call, name="call"),
    Route(_AT + "/picture.png", picture, name="picture"),
]
