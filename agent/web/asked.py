"""Converts a request's address to values (a run, a filter of labels, a page of them) and back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request

from agent.log.browsing import LabelFilter
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, run_summary
from agent.web.site import site_of

SIZES = (50, 100, 200, 500)
BLIND_COOKIE = "interpret_blind"

_PLAIN = (
    "search",
    "status",
    "class_name",
    "reviewed",
    "min_confidence",
    "max_confidence",
    "min_probability",
    "min_score",
    "max_score",
)
_SCORE = re.compile(r"(?P<scoring_id>\d{1,18})-(?P<scorer>\w{1,100})")


class RowConvertor(Convertor[int]):
    """Numbers in the addresses of pages, `{run_id:row}`: of 18 digits at most, since SQLite's end at 2**63."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        """Called by starlette."""
        return int(value)

    def to_string(self, value: int) -> str:
        """Called by starlette."""
        return str(value)


register_url_convertor("row", RowConvertor())


@dataclass(frozen=True)
class LabelQuery:
    """A filter of labels, and a page of those that match."""

    filter: LabelFilter
    size: int
    page: int
    """Number of the page, from 1."""

    def query(self, **changes: Any) -> str:
        """Returns this as a query string, without empty values; `changes` are by the names in addresses."""
        said: dict[str, Any] = {name: getattr(self.filter, name) for name in _PLAIN}
        score = self.filter.score
        said["score"] = None if score is None else f"{score.scoring_id}-{score.scorer}"
        said["sort"] = ("-" if self.filter.descending else "") + self.filter.order
        said |= {"size": self.size, "page": self.page} | changes
        usual = {"sort": "feature", "size": SIZES[1], "page": 1}
        return urlencode({name: value for name, value in said.items() if value not in (None, "", usual.get(name))})


def run_of(request: Request) -> RunSummary:
    """Returns the run that the address names. Raises HTTPException, not found."""
    run_id, site = request.path_params["run_id"], site_of(request)
    found = site.cache(_summary, run_id)  # which counts all that a run has
    if found is None:
        raise HTTPException(404, f"{site.log.path} has no run {run_id}; the list of runs has them all.")
    return found


def _summary(log: RunLog, run_id: int) -> RunSummary | None:
    return log.read(run_summary, run_id)


def label_of(request: Request, run: RunSummary) -> LabelRow | None:
    """Returns the label of the feature that the address names; None if it is not done yet."""
    found = site_of(request).log.read(labels_of, run.run_id, features=[request.path_params["feature"]])
    return found[0] if found else None


def asked_of(request: Request) -> LabelQuery:
    """Returns the filter in the address; in blind mode without criteria that reveal scores. Raises SettingsError."""
    given: Mapping[str, str] = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
    plain: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}
    score = _SCORE.fullmatch(given.get("score", ""))
    sort = given.get("sort", "feature")
    if score is None:  # limits of a score that is not chosen say nothing
        plain = {name: value for name, value in plain.items() if name not in ("min_score", "max_score")}
        sort = "feature" if sort.endswith("score") else sort
    order = {"order": sort.removeprefix("-"), "descending": sort.startswith("-")}
    wanted = LabelFilter.parse({**plain, **order, "score": score and score.groupdict()})
    if is_blind(request):
        by = site_of(request).reviewer  # what others said is not to be found out by filtering either
        open_ones = {name: getattr(wanted, name) for name in ("search", "status", "class_name", "reviewed")}
        wanted = LabelFilter(**open_ones, reviewer=by)
    size = next((size for size in SIZES if str(size) == given.get("size")), SIZES[1])
    number = given.get("page", "")
    return LabelQuery(wanted, size, max(1, int(number)) if number.isdecimal() and len(number) < 10 else 1)


def is_blind(request: Request) -> bool:
    """Tests if scores, confidence and others' verdicts are hidden until a verdict is given."""
    return request.cookies.get(BLIND_COOKIE) == "1"
