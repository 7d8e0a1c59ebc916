"""Requests of the comparison page, and of one feature under two of its settings."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from agent.log.comparisons import ComparisonRow, comparisons_of, newest_fit
from agent.log.labels import Labelled, labelled
from agent.log.run_log import RunLog
from agent.web.compare import pair, scales, table
from agent.web.compare.comparison import Comparison, subject_words
from agent.web.compare.feature import SettingViews, sides, tree_at
from agent.web.compare.layers import beside
from agent.web.pages import as_json, page
from agent.web.site import site_of
from agent.web.trees import drawing
from eval.compare.measures import REPORTED, UNITS

"""SQLite holds numbers below it."""


def show_comparison(request: Request) -> Response:
    """Shows a comparison, by default the latest; if there is none, how to make one."""
    site = site_of(request)
    rows = site.log.read(comparisons_of)
    if not rows:
        return page(request, "compare_none.html.j2", here="compare", log=site.log)
    row = _row(request, rows)
    found = _comparison(request, row)
    if not found.settings:
        return page(request, "compare_none.html.j2", here="compare", log=site.log)
    across = _place(request, "across", 0, found)
    up = _place(request, "up", found.opposite(across), found)
    measure = _one_of(request, "measure", [*REPORTED], found.usual_measure)
    common = _one_of(request, "features", ["common", "all"], "common") == "common"
    sort = _one_of(request, "sort", [*table.SORTS], "mean")
    scatter = found.once(pair.scatter, across, up, measure, common)
    features = tuple(point.feature for point in scatter.points) if scatter else ()
    features += tuple(one.feature for one in scatter.furthest) if scatter else ()
    return page(
        request,
        "compare.html.j2",
        here="compare",
        rows=[(other.comparison_id, subject_words(other)) for other in rows],
        row=row,
        subject=subject_words(row),
        found=found,
        across=across,
        up=up,
        measure=measure,
        measures=UNITS,
        meanings=REPORTED,
        common=common,
        sort=sort,
        sorts=table.SORTS,
        verdicts=found.once(pair.verdicts, across, up, common),
        sources=found.once(pair.sources, tuple(dict.fromkeys((across, up))), common),
        scatter=scatter,
        labels=site.cache(_labels, row.subject.fingerprint, features),
        scales=found.once(scales.scales, measure, common),
        table=found.once(table.table, across, measure, common, sort),
        chosen=found.once(table.chosen, across, measure),
        layers=beside(rows, row, found, across, up, measure, lambda other: _comparison(request, other)),
        sizes={"scatter": (pair.WIDTH, pair.HEIGHT), "forest": pair.FOREST, "means": table.WIDTH}
        | {"scales": (scales.WIDTH, scales.HEIGHT, scales.AUTO_AT)},
    )


def show_feature(request: Request) -> Response:
    """Shows one feature under two settings: its evidence, and the evidence's fit to its examples."""
    row, found, across, up = _asked(request)
    feature = request.path_params["feature"]
    site = site_of(request)
    seen: SettingViews = sides(site.log, row, found, feature, (across, up))
    if not any(side.measured for side in seen.sides):
        raise HTTPException(404, f"Comparison {row.comparison_id} has nothing on feature {feature}.")
    return page(
        request,
        "compare_feature.html.j2",
        here="compare",
        row=row,
        subject=subject_words(row),
        feature=feature,
        across=across,
        up=up,
        seen=seen,
        label=_labels(site.log, row.subject.fingerprint, (feature,)).get(feature),
        can_explore=site.subject is not None and site.subject.card.fingerprint == row.subject.fingerprint,
    )


def tell_tree(request: Request) -> Response:
    """Returns a setting's tree of a feature, for the script that draws it."""
    row, found, place, _ = _asked(request)
    tree = tree_at(site_of(request).log, row, found.settings[place], request.path_params["feature"])
    if tree is None:
        raise HTTPException(404, "There is no such tree.")
    return as_json(drawing(tree))


def _labels(log: RunLog, fingerprint: str, features: tuple[int, ...]) -> dict[int, Labelled]:
    """Returns the latest labels of labelling runs."""
    found = log.read(labelled, fingerprint, features)
    return {one.feature: one for one in found}


def _asked(request: Request) -> tuple[ComparisonRow, Comparison, int, int]:
    """Returns the comparison in the address, and two of its settings."""
    rows = site_of(request).log.read(comparisons_of)
    row = next((row for row in rows if row.comparison_id == request.path_params["comparison"]), None)
    if row is None:
        raise HTTPException(404, "The log has no such comparison; the page without an address has the latest.")
    found = _comparison(request, row)
    across = _place(request, "across", 0, found)
    return row, found, across, _place(request, "up", found.opposite(across), found)


def _comparison(request: Request, row: ComparisonRow) -> Comparison:
    return site_of(request).cache.until(newest_fit, Comparison.load, row.comparison_id)


def _row(request: Request, rows: list[ComparisonRow]) -> ComparisonRow:
    asked = request.query_params.get("of", str(rows[0].comparison_id))
    found = next((row for row in rows if str(row.comparison_id) == asked), None)
    if found is None:
        raise HTTPException(404, "The log has no such comparison; the page without an address has the latest.")
    return found


def _place(request: Request, name: str, usual: int, found: Comparison) -> int:
    """Returns a setting's index in the comparison. Raises HTTPException, not found."""
    asked, n = request.query_params.get(name, str(usual)), len(found.settings)
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 6 and int(asked) < n):
        raise HTTPException(404, f"This comparison has settings 0 to {n - 1}, and no other.")
    return int(asked)


def _one_of(request: Request, name: str, known: list[str], usual: str) -> str:
    """Returns a word of the address, one of those allowed. Raises HTTPException, not found."""
    asked = request.query_params.get(name, usual)
    if asked not in known:
        raise HTTPException(404, f"There is no {name} of that name; there are {', '.join(known)}.")
    return asked


_AT = "/compare/{comparison:row}/features/{feature:row}"

routes: list[BaseRoute] = [
    Route("/compare", show_comparison),
    Route(_AT, show_feature),
    Route(_AT + "/tree.json", tell_tree),
]
