"""Requests of the explore page: the page, evidence as it is made, and evidence to store."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from itertools import groupby
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agent.drawing.svg import tree_svg
from agent.errors import LogError
from agent.evidence.badge import list_badge
from agent.evidence.branches import Trim
from agent.evidence.wording import list_words
from agent.maxima import maximum_in
from agent.web.device import Device, device_of
from agent.web.explore.about import about
from agent.web.explore.controls import ProbeQuery, asked, controls
from agent.web.explore.keeping import keep
from agent.web.feature.evidence import list_bars, sweep_bars, token_bars
from agent.web.pages import as_json, page
from agent.web.site import site_of
from agent.web.trees import drawing
from probes.behaviour import Continuations, Neighbours
from probes.errors import InterpretError
from probes.evidence import Evidence, Experiment, Projection, Sweep, TokenList, Tree
from probes.settings import AUTO, PROMPTS, ProbeSettings

FORMS = ("svg", "png")
MAX_DRAWN = 400
"""Nodes of a file, where it is not said how improbable they may be."""
USUAL_GROUPS = ("vector", "tree", "tokens")
"""Those of the original notebook; what goes beyond it is folded away until it is used."""


def show(request: Request) -> Response:
    """Renders the page with its controls; its script asks for the rest."""
    device = _device(request)
    by_group = {name: list(some) for name, some in groupby(controls(device.card), lambda control: control.group)}
    return page(
        request,
        "explore.html.j2",
        here="explore",
        card=device.card,
        groups=by_group,
        usual=USUAL_GROUPS,
        prompts={AUTO: "what reads this model's own words best"} | PROMPTS,
    )


def tell_about(request: Request) -> Response:
    """Renders the log's facts about a feature, as a part of the page."""
    card = _device(request).card
    wanted = asked({"feature": request.query_params.get("feature", "")}, card)
    if wanted.question is None:
        return as_json({"errors": wanted.errors}, 422)
    found = about(site_of(request).log, card, wanted.question.feature)
    return page(request, "explore_about.html.j2", about=found)


async def draw(request: Request) -> Response:
    """Returns the tree as a file: of the nodes of at least the probability `least`, or of the most probable."""
    device, form = _device(request), request.path_params["form"]
    if form not in FORMS:
        raise HTTPException(404, f"A tree is drawn as {' or '.join(FORMS)}, and as nothing else.")
    wanted = asked(request.query_params, device.card)
    if wanted.question is None:
        raise HTTPException(404, " ".join(wanted.errors.values()))
    question = await run_in_threadpool(_with_maximum, request, device, wanted.question)
    found = await device.all_of(question.feature, question.settings)
    tree = next(piece for piece in found if isinstance(piece, Tree))
    return await run_in_threadpool(_drawn, tree, _trim(request), form)


def _trim(request: Request) -> Trim:
    try:
        least = float(request.query_params.get("least", "0"))
    except ValueError:
        least = 0.0
    return Trim(least=least) if 0 < least <= 1 else Trim(MAX_DRAWN)


def _drawn(tree: Tree, trim: Trim, form: str) -> Response:
    if form == "svg":
        return Response(tree_svg(tree, trim), media_type="image/svg+xml")
    from agent.drawing.raster import tree_png  # with matplotlib, which no page waits for

    return Response(tree_png(tree, trim), media_type="image/png")


def evidence(request: Request) -> Response:
    """Streams a line of JSON for each piece: lists first, then the tree, level by level."""
    device = _device(request)
    wanted = asked(request.query_params, device.card)
    if wanted.question is None:
        return as_json({"errors": wanted.errors}, 422)
    question = _with_maximum(request, device, wanted.question)
    return StreamingResponse(_lines(device, question), media_type="application/x-ndjson")


async def keep_it(request: Request) -> Response:
    """Stores the evidence of the query's settings in the log; returns its place there."""
    device, path = _device(request), site_of(request).log.path
    wanted = asked(request.query_params, device.card)
    if wanted.question is None:
        return as_json({"errors": wanted.errors}, 422)
    question = await run_in_threadpool(_with_maximum, request, device, wanted.question)
    try:
        found = await device.all_of(question.feature, question.settings)
        kept = await run_in_threadpool(keep, path, device.card, question.feature, found)
    except LogError as error:
        return as_json({"error": str(error)}, 503)
    except InterpretError as error:
        return as_json({"error": str(error)}, 422)
    return as_json(asdict(kept))


def _with_maximum(request: Request, device: Device, question: ProbeQuery) -> ProbeQuery:
    """Returns the settings with the unit of steering: the highest activation in the log, unless a maximum is given."""
    steering = question.settings.steering
    if not steering.on or steering.maximum is not None:
        return question
    maximum = maximum_in(site_of(request).log.path, device.card.fingerprint, question.feature)
    known = steering.model_copy(update={"maximum": maximum})
    return ProbeQuery(question.feature, question.settings.model_copy(update={"steering": known}))


async def _lines(device: Device, question: ProbeQuery) -> AsyncIterator[bytes]:
    try:
        async for found in device.growing(question.feature, question.settings):
            yield _line(_piece(found, question.settings))
    except InterpretError as error:  # the status has been sent: the sentence goes where the rest would have gone
        yield _line({"error": str(error)})


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"


def _piece(found: Evidence, settings: ProbeSettings) -> Mapping[str, Any]:
    match found:
        case Tree():
            tree = found.settings.tree
            is_last = tree == settings.tree.model_copy(update={"prompt": tree.prompt})  # it may have been auto
            return {"tree": drawing(found), "depth": tree.max_depth, "last": is_last}
        case TokenList():
            rows, verdict = list_bars(found), list_badge(found)
            return {
                "tokens": [asdict(row) for row in rows],
                "caption": list_words(found),
                "badge": None if verdict is None else asdict(verdict),
            }
        case Projection():
            top, bottom = (token_bars(end) for end in (found.top, found.bottom))
            return {"raised": [asdict(row) for row in top], "lowered": [asdict(row) for row in bottom]}
        case Sweep():
            return {"swept": [asdict(row) for row in sweep_bars(found)]}
        case Experiment() | Neighbours() | Continuations():
            raise AssertionError(f"The explore page asks for no {type(found).__name__}.")


def _device(request: Request) -> Device:
    subject = site_of(request).subject
    if subject is None:
        raise HTTPException(404, "Exploring needs a loaded subject: start interpret serve with --subject demo.")
    return device_of(subject)


routes = [
    Route("/explore", show, name="explore"),
    Route("/explore/evidence", evidence, name="evidence"),
    Route("/explore/about", tell_about, name="about"),
    Route("/explore/tree.{form:str}", draw, name="drawn"),
    Route("/explore/keep", keep_it, methods=["POST"], name="keep"),
]
