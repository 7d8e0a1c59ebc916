"""The table of a run's labels: search, filter, sort, a screenful at a time; its state is in the address."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.runlog import ReviewRow, RunLog
from agent.store.browsing import BrowsedLabel, LabelFilter, count_labels, label_page
from agent.store.overview import ScoreKind, score_kinds
from agent.store.reviews import Verdict, latest_verdict
from eval.review.asked import SIZES, Asked, asked_of, is_blind, run_of
from eval.review.pages import page
from eval.review.site import site_of


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    found: BrowsedLabel
    verdict: Verdict | None
    """The latest of anybody's; in blind mode the reviewer's own."""
    n_flags: int
    n_notes: int


def show_labels(request: Request) -> Response:
    """One page of the table."""
    site, run = site_of(request), run_of(request)
    blind = is_blind(request)
    kinds = site.log.ask(score_kinds, run.run_id)
    asked = asked_of(request)
    wanted = asked.filter if blind else _with_score(asked.filter, kinds)
    n_found = site.cache(_count, run.run_id, asked.filter)
    n_pages = max(1, -(-n_found // asked.size))
    asked = Asked(asked.filter, asked.size, min(asked.page, n_pages))
    first = (asked.page - 1) * asked.size
    found = site.log.ask(label_page, run.run_id, wanted, first, asked.size)
    return page(
        request,
        "labels.html.j2",
        run=run,
        here="labels",
        asked=asked,
        kinds=kinds,
        kind=next((kind for kind in kinds if kind.key == wanted.score), None),
        rows=[_row(one, site.reviewer if blind else None) for one in found],
        n_found=n_found,
        n_pages=n_pages,
        first=first,
        sizes=SIZES,
        filtered=asked.filter.model_copy(update={"order": "feature", "descending": False, "score": None})
        != LabelFilter(),
    )


def _count(log: RunLog, run_id: int, wanted: LabelFilter) -> int:
    return log.ask(count_labels, run_id, wanted)


def _with_score(wanted: LabelFilter, kinds: list[ScoreKind]) -> LabelFilter:
    """With the first scorer's score where none is chosen, so that there is one to see."""
    return wanted if wanted.score or not kinds else wanted.model_copy(update={"score": kinds[0].key})


def _row(found: BrowsedLabel, only: str | None) -> Row:
    reviews = [review for review in found.reviews if only in (None, review.reviewer)]
    return Row(found, latest_verdict(reviews), _number_of(reviews, "flag"), _number_of(reviews, "note"))


def _number_of(reviews: list[ReviewRow], kind: str) -> int:
    return sum(review.verdict == kind and not review.undone for review in reviews)


routes = [Route("/runs/{run_id:int}/labels", show_labels, name="labels")]
