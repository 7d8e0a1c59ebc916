"""The list of runs, and one run at a glance: how far it is, what it cost, how its labels score, what they rest on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from agent.runlog import RunLog, RunSummary, Spent
from agent.store import overview as store
from agent.store.reviews import verdicts
from eval.review.agreement import Agreement, agreements
from eval.review.asked import run_of
from eval.review.figures import Histograms, histograms
from eval.review.pages import as_json, page
from eval.review.site import Site, site_of
from eval.review.winning import Winning, winning_settings

_SEED = 0
_REASONS = 12
_DETAIL = re.compile(r'"[^"]{0,80}"|\d+(\.\d+)?')
_SAMPLED = 1000
"""Labels whose evidence is looked at for the settings that won."""


def show_runs(request: Request) -> Response:
    """Every run of the log."""
    site = site_of(request)
    return page(request, "runs.html.j2", here="runs", runs=site.log.runs()[::-1], log=site.log)


@dataclass(frozen=True)
class Figures:
    """What is counted over a whole run; kept until the log changes."""

    spent: Sequence[tuple[str, Spent]]
    """The calls of the labelling and of each scoring, where there were any."""
    faults: Sequence[store.Fault]
    reasons: Sequence[store.Reason]
    scorers: Sequence[tuple[store.ScoreKind, Histograms]]
    winning: Winning
    agreements: Sequence[Agreement]


def show_run(request: Request) -> Response:
    """One run."""
    site, run = site_of(request), run_of(request)
    return page(
        request,
        "overview.html.j2",
        run=run,
        here="overview",
        progress=_progress(site, run),
        command=site.log.ask(store.command_of, run.run_id),
        figures=site.cache(_figures, run.run_id, run.n_labelled),
    )


def _figures(log: RunLog, run_id: int, n_labelled: int) -> Figures:
    spent = [("labels", log.spent(run_id))]
    spent += [
        (f"scoring {scoring.scoring_id}, {scoring.judge}", log.spent(run_id, scoring.scoring_id))
        for scoring in log.scorings(run_id)
    ]
    return Figures(
        spent=[(name, what) for name, what in spent if what.calls],
        faults=log.ask(store.faults, run_id),
        reasons=grouped(log.ask(store.reasons, run_id))[:_REASONS],
        scorers=[(kind, histograms(log, kind.key)) for kind in log.ask(store.score_kinds, run_id)],
        winning=winning_settings(log, run_id, n_labelled, _SAMPLED),
        agreements=agreements(log.ask(verdicts, run_id), _SEED),
    )


def grouped(reasons: Sequence[store.Reason]) -> list[store.Reason]:
    """The most frequent first, those counted together that differ in quoted words and figures only."""
    alike: dict[tuple[str, str], list[store.Reason]] = {}
    for one in reasons:
        alike.setdefault((one.status, _DETAIL.sub("…", one.reason)), []).append(one)
    found = [
        store.Reason(status, words if len(same) > 1 else same[0].reason, sum(one.n for one in same))
        for (status, words), same in alike.items()
    ]
    return sorted(found, key=lambda one: -one.n)


def tell_progress(request: Request) -> Response:
    """How far a run is, as JSON, for the script that asks every two seconds."""
    return as_json(_progress(site_of(request), run_of(request)))


def _progress(site: Site, run: RunSummary) -> dict[str, str | int | float | bool | None]:
    """What changes while a run goes on."""
    n_done = run.n_labelled + run.n_abstained + run.n_failed
    return {
        "status": run.status,
        "live": run.status == "unfinished" and site.log.is_held(run.run_id),
        "asked": run.n_asked,
        "done": n_done,
        "labelled": run.n_labelled,
        "abstained": run.n_abstained,
        "failed": run.n_failed,
        "calls": run.n_calls,
        "cost": run.cost_usd,
        "written": site.log.ask(store.last_written, run.run_id),
    }


routes = [
    Route("/", show_runs, name="runs"),
    Route("/runs/{run_id:int}", show_run, name="overview"),
    Route("/runs/{run_id:int}/progress", tell_progress, name="progress"),
]
