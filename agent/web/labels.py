"""The table of a run's labels: search, filter, sort, a screenful at a time; its state is in the address."""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.errors import LogError
from agent.evidence.printable import printable
from agent.groups import RunGroup
from agent.log.browsing import BrowsedLabel, LabelFilter, count_labels, label_of_table, label_page, place_of
from agent.log.calibrations import is_calibrated
from agent.log.comparisons import classes_of
from agent.log.labels import LabelRow, labels_of
from agent.log.reviews import Verdict, latest_verdict, latest_wording, standing
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.log.scores import ScoreKind, score_kinds
from agent.schema import CLASSES
from agent.web.asked import SIZES, LabelQuery, asked_of, is_blind, run_of
from agent.web.group import group_at
from agent.web.pages import page
from agent.web.site import site_of
from probes.errors import FeatureError
from probes.features import parse_address

_TOKEN = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") -?[\d.]""")
"""A token in the log's summary of a list, as Python writes it, before its number."""
_WORDS = 6
_WORD_CHARS = 24


@dataclass(frozen=True)
class LabelTableRow:
    """A row of the table. In blind mode the reviews are the reviewer's own."""

    found: BrowsedLabel
    verdict: Verdict | None
    """The latest verdict of any reviewer."""
    wording: str | None
    """The label as corrected by reviewers."""
    words: Sequence[str]
    """The first tokens of the feature's list."""
    at: float | None
    """Position of its score on a scale from 0 to 100."""
    control: float | None
    n_flags: int
    n_notes: int


def show_labels(request: Request) -> Response:
    """Shows one page of the table: the one that the address names, or the one with the feature that it names."""
    site, run = site_of(request), run_of(request)
    asked = asked_of(request)
    kinds = site.cache(_kinds, run.run_id)
    wanted, kind = _scored(asked.filter, kinds, is_blind(request))
    n_found = site.cache(_count, run.run_id, asked.filter)
    n_pages = max(1, -(-n_found // asked.size))
    here = _feature(request)
    number = asked.page if here is None else site.log.read(place_of, run.run_id, wanted, here) // asked.size + 1
    asked = LabelQuery(asked.filter, asked.size, min(number, n_pages))
    first = (asked.page - 1) * asked.size
    found = site.log.read(label_page, run.run_id, wanted, first, asked.size)
    return page(
        request,
        "labels.html.j2",
        run=run,
        here="labels",
        asked=asked,
        kinds=kinds,
        kind=kind,
        rows=[_row(request, one, kind) for one in found],
        at=here,
        named=_named(site.log, group_at(site, run), asked.filter.search),
        n_found=n_found,
        n_pages=n_pages,
        first=first,
        sizes=SIZES,
        calibrated=site.cache(_is_calibrated, run.run_id),
        classes=site.cache(_classes, run.subject["fingerprint"]),
        filtered=asked.filter.model_copy(
            update={"order": "feature", "descending": False, "score": None, "reviewer": None}
        )
        != LabelFilter(),
    )


def row_page(request: Request, run: RunSummary, feature: int) -> Response:
    """Renders one row of the table, after a review of it."""
    site, asked = site_of(request), asked_of(request)
    wanted, kind = _scored(asked.filter, site.cache(_kinds, run.run_id), is_blind(request))
    found = site.log.read(label_of_table, run.run_id, wanted, feature)
    if found is None:
        raise HTTPException(404, f"Run {run.run_id} has no label of feature {feature} yet.")
    context: dict[str, Any] = {
        "kind": kind,
        "row": _row(request, found, kind),
        "calibrated": site.cache(_is_calibrated, run.run_id),
    }
    return page(request, "label_row.html.j2", run=run, asked=asked, at=None, **context)


def _feature(request: Request) -> int | None:
    """Returns the feature whose row is to be shown, if the address names one."""
    named = request.query_params.get("at", "")
    return int(named) if named.isdecimal() and len(named) < 19 else None


def _named(log: RunLog, group: RunGroup, search: str) -> LabelRow | None:
    """Returns the label whose address, as `8:121`, stands in the search box; None where none does."""
    try:
        layer, feature = parse_address(search)
        run = None if layer is None or not group.is_many else group.of_layer(layer)
    except (FeatureError, LogError):
        return None
    return next(iter(log.read(labels_of, run.run_id, features=[feature])), None) if run else None


def _kinds(log: RunLog, run_id: int) -> list[ScoreKind]:
    return log.read(score_kinds, run_id)


def _is_calibrated(log: RunLog, run_id: int) -> bool:
    return log.read(is_calibrated, run_id)


def _classes(log: RunLog, fingerprint: str) -> Sequence[str]:
    """Returns the classes to filter by that some of the subject's features have."""
    found = log.read(classes_of, fingerprint).values()
    return [word for word in CLASSES if any(word in (one.kind, one.captured) for one in found)]


def _count(log: RunLog, run_id: int, wanted: LabelFilter) -> int:
    return log.read(count_labels, run_id, wanted)


def _scored(wanted: LabelFilter, kinds: Sequence[ScoreKind], blind: bool) -> tuple[LabelFilter, ScoreKind | None]:
    """Returns the query with the first scorer's score if none is chosen; in blind mode with none."""
    if blind:
        return wanted, None
    if not wanted.score and kinds:
        wanted = wanted.model_copy(update={"score": kinds[0].key})
    return wanted, next((kind for kind in kinds if kind.key == wanted.score), None)


def _row(request: Request, found: BrowsedLabel, kind: ScoreKind | None) -> LabelTableRow:
    only = site_of(request).reviewer if is_blind(request) else None
    reviews = [review for review in found.reviews if only in (None, review.reviewer)]
    least = -1.0 if kind is not None and kind.metric == "correlation" else 0.0
    return LabelTableRow(
        found=found,
        verdict=latest_verdict(reviews),
        wording=latest_wording(reviews),
        words=_words(found.words),
        at=_at(found.score, least),
        control=_at(found.control, least),
        n_flags=standing(reviews, "flag"),
        n_notes=standing(reviews, "note"),
    )


def _words(summary: str) -> list[str]:
    """Returns the first tokens of a list, from the log's summary of it."""
    tokens = [_token(found) for found in _TOKEN.findall(summary)[:_WORDS]]
    return [words for token in tokens if (words := printable(token.strip(" ")[:_WORD_CHARS]))]


def _token(literal: str) -> str:
    """Reads a token as the summary quotes it; empty for one that an imported log quotes in no such way."""
    try:
        return str(ast.literal_eval(literal))
    except (SyntaxError, ValueError):
        return ""


def _at(value: float | None, least: float) -> float | None:
    return None if value is None else round(100 * min(max((value - least) / (1 - least), 0.0), 1.0), 1)


routes = [Route("/runs/{run_id:row}/labels", show_labels, name="labels")]
