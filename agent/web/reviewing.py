"""Reviews: the box that every feature's page includes, and the requests of its buttons."""

from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from agent.errors import LogError
from agent.evidence.printable import printable
from agent.log.browsing import Around, around
from agent.log.labels import LabelRow
from agent.log.reviews import Review, add_review, latest_verdict, latest_wording, reviews_of, standing, undo_review
from agent.log.runs import RunSummary
from agent.web.asked import BLIND_COOKIE, asked_of, is_blind, label_of, run_of
from agent.web.labels import row_page
from agent.web.pages import page
from agent.web.site import site_of
from probes.errors import InterpretError

_MAX_BYTES = 100_000
_YEAR_S = 365 * 24 * 3600


def review_context(request: Request, run: RunSummary, label: LabelRow | None, feature: int) -> dict[str, Any]:
    """Returns the variables of `review_box.html.j2`, and `hidden` for the rest of the page.

    `hidden` says that the reviewer is to judge without scores, confidence and what others said: leave these out.
    """
    site = site_of(request)
    reviews = site.log.read(reviews_of, [label.label_id]) if label else []
    own = [review for review in reviews if review.reviewer == site.reviewer]
    mine = latest_verdict(own)
    hidden = is_blind(request) and mine is None and label is not None and label.status != "failed"
    asked = asked_of(request)
    near = site.log.read(around, run.run_id, asked.filter, feature) if label else Around(None, None)
    return {
        "run": run,
        "label": label,
        "feature": feature,
        "reviews": own if hidden else reviews,
        "mine": mine,
        "flagged": standing(own, "flag") > 0,
        "undoable": any(not review.undone for review in own),
        "wording": latest_wording(own if hidden else reviews),
        "hidden": hidden,
        "near": near,
        "query": asked.query(page=None),
    }


async def write_review(request: Request) -> Response:
    """Stores a review; returns the box for our script, the feature's page for a browser without it."""
    form = await _form(request)
    partial = request.headers.get("x-part", "")
    try:
        return await run_in_threadpool(_write, request, form, partial)
    except InterpretError as error:
        status = 503 if isinstance(error, LogError) else 400
        if partial:
            return PlainTextResponse(printable(str(error)), status)
        action = f"{request.url.path}?{request.url.query}"
        return page(request, "review_retry.html.j2", status, sentence=str(error), form=form, action=action)


async def toggle_blind(request: Request) -> Response:
    """Hides scores from now on, or shows them again, and goes back to the page that asked."""
    form = await _form(request)
    response = RedirectResponse(_path(form.get("back", "/")), 303)
    if is_blind(request):
        response.delete_cookie(BLIND_COOKIE, path="/")
    else:
        response.set_cookie(BLIND_COOKIE, "1", max_age=_YEAR_S, httponly=True, samesite="strict", path="/")
    return response


def _write(request: Request, form: dict[str, str], partial: str) -> Response:
    """Stores a review. `partial`: `review` asks for the box, `row` for the table's row, empty for the whole page."""
    site, run = site_of(request), run_of(request)
    label = label_of(request, run)
    if label is None:
        raise HTTPException(404, f"Run {run.run_id} has no label of feature {request.path_params['feature']} yet.")
    kind = form.get("verdict", "")
    if kind == "undo":
        done = site.log.write_at_once(undo_review, label.label_id, site.reviewer)
        said = "Undone." if done else "You have no review to undo."
    else:
        wording = form.get("label", "").strip() if kind == "edit" else None
        note = form.get("note", "").strip() or None
        review = Review.parse({"verdict": kind, "label": wording, "note": note, "blind": is_blind(request)})
        site.log.write_at_once(add_review, label.label_id, site.reviewer, review)
        said = ""
    if partial == "row":
        return row_page(request, run, label.feature)
    if not partial:
        query = asked_of(request).query(page=None)
        return RedirectResponse(f"/runs/{run.run_id}/features/{label.feature}{'?' if query else ''}{query}#review", 303)
    return page(request, "review_box.html.j2", said=said, **review_context(request, run, label, label.feature))


async def _form(request: Request) -> dict[str, str]:
    """Parses an urlencoded form, the first field of each name. Raises HTTPException if it is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BYTES:
            raise HTTPException(413, "That text is too long to be kept as a review.")
    try:
        fields = parse_qs(body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise HTTPException(400, "That form has too many fields.") from None
    return {name: values[0] for name, values in fields.items()}


def _path(given: str) -> str:
    """Returns a path on this server, never another site's address."""
    return "/" + given.lstrip("/\\") if given.isprintable() and given.isascii() else "/"


routes = [
    Route("/runs/{run_id:row}/features/{feature:row}/review", write_review, methods=["POST"]),
    Route("/blind", toggle_blind, methods=["POST"]),
]
