"""The comparison page: settings of one comparison against each other, feature by feature; a point opens its feature."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent.comparisons import ComparisonRow
from eval.compare.measures import CHOSEN_BY, REPORTED, UNITS
from eval.review.compare_figures import SIZE, figures, subject_words
from eval.review.pages import page
from eval.review.site import site_of


def show_comparison(request: Request) -> Response:
    """A comparison, the latest unless another is named; how to make one where there is none."""
    site = site_of(request)
    rows = site.log.comparisons.all()
    if not rows:
        return page(request, "compare_none.html.j2", here="compare", log=site.log)
    row = _row(request, rows)
    n_settings = len(site.log.comparisons.settings(row.comparison_id))
    if not n_settings:
        return page(request, "compare_none.html.j2", here="compare", log=site.log)
    across, up = _place(request, "across", 0, n_settings), _place(request, "up", min(1, n_settings - 1), n_settings)
    measure = request.query_params.get("measure", CHOSEN_BY)
    if measure not in REPORTED:
        raise HTTPException(404, f"There is no measure of that name; there are {', '.join(REPORTED)}.")
    return page(
        request,
        "compare.html.j2",
        here="compare",
        rows=[(other.comparison_id, subject_words(other)) for other in rows],
        row=row,
        subject=subject_words(row),
        across=across,
        up=up,
        measure=measure,
        measures=UNITS,
        meaning=REPORTED[measure],
        size=SIZE,
        found=site.cache(figures, row.comparison_id, across, up, measure),
    )


def _row(request: Request, rows: list[ComparisonRow]) -> ComparisonRow:
    asked = request.query_params.get("of", str(rows[0].comparison_id))
    found = next((row for row in rows if str(row.comparison_id) == asked), None)
    if found is None:
        raise HTTPException(404, "The log has no such comparison; the page without an address has the latest.")
    return found


def _place(request: Request, name: str, usual: int, n: int) -> int:
    """A setting's place in the comparison. Raises HTTPException, not found."""
    asked = request.query_params.get(name, str(usual))
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 6 and int(asked) < n):
        raise HTTPException(404, f"This comparison has settings 0 to {n - 1}, and no other.")
    return int(asked)


routes: list[BaseRoute] = [Route("/compare", show_comparison)]
