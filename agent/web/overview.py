"""The list of runs, and the summary of one run: progress, cost, scores, settings that won."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agent.evidence.wording import vector_words
from agent.groups import group_of
from agent.log.calls import FaultCount, Spent, faults_of, spent_by
from agent.log.comparisons import compared_settings, comparisons_of, n_compared, newest_fit
from agent.log.evidence import kept_views
from agent.log.labels import Reason, labelled, reasons_of
from agent.log.reviews import verdicts_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run, command_of, last_written
from agent.log.scores import ScoreKind, newest_score, score_kinds, scorings_of
from agent.web.agreement import ReviewerAgreement, agreements
from agent.web.asked import is_blind, run_of
from agent.web.explore.controls import query_of
from agent.web.figures import HEIGHT, WIDTH, ScoreHistogram, first_histogram, histogram
from agent.web.graph_page import is_of
from agent.web.group import group_at
from agent.web.pages import as_json, page
from agent.web.site import Site, site_of
from agent.web.winning import WinnerTable, winning_settings
from eval.compare.grid import names_of
from eval.layer_table import LayerTable, layer_table

_SEED = 0
_REASONS = 12
_NAMED = 3
"""Settings of a comparison that its card names."""
_MAX_KEPT = 500
_DETAIL = re.compile(r'"[^"]{0,80}"|\d+(\.\d+)?')
_SAMPLED = 1000
"""Labels whose evidence is looked at for the settings that won."""


@dataclass(frozen=True)
class RunCard:
    """A labelling run."""

    run: RunSummary
    live: bool
    scores: tuple[ScoreKind, ScoreHistogram] | None


@dataclass(frozen=True)
class ComparisonCard:
    """A comparison of settings."""

    comparison_id: int
    subject: str
    created: str
    n_settings: int
    names: Sequence[str]
    """Names of the first few settings."""
    n_features: int


def show_runs(request: Request) -> Response:
    """Shows every labelling run of the log; apart from them comparisons and stored evidence."""
    site = site_of(request)
    runs = site.cache(_runs)[::-1]
    return page(
        request,
        "runs.html.j2",
        here="runs",
        runs=[_card(site, run) for run in runs if run.kind in ("label", "probe")],
        comparisons=site.cache.until(newest_fit, _comparisons),
        kept=[run for run in runs if run.kind == "explore"],
        log=site.log,
        size=(WIDTH, HEIGHT),
    )


def _runs(log: RunLog) -> list[RunSummary]:
    return log.read(all_runs)


def _card(site: Site, run: RunSummary) -> RunCard:
    live = run.status == "unfinished" and site.log.is_held(run.run_id)
    return RunCard(run, live, site.cache.until(newest_score, _first_scores, run.run_id))


def _first_scores(log: RunLog, run_id: int) -> tuple[ScoreKind, ScoreHistogram] | None:
    return first_histogram(log, log.read(score_kinds, run_id))


def _comparisons(log: RunLog) -> list[ComparisonCard]:
    found = []
    for row in log.read(comparisons_of):
        settings = log.read(compared_settings, row.comparison_id)
        if settings:
            names = [*names_of(settings).values()][:_NAMED]
            subject, n = f"{row.subject.name}, {row.subject.hook}", log.read(n_compared, row.comparison_id)
            found.append(ComparisonCard(row.comparison_id, subject, row.created, len(settings), names, n))
    return found


@dataclass(frozen=True)
class Figures:
    """Figures counted over a whole run; kept until the log changes."""

    spent: Sequence[tuple[str, Spent]]
    """The costs of the labelling and of each scoring, if there were calls."""
    faults: Sequence[FaultCount]
    reasons: Sequence[Reason]
    winning: WinnerTable
    agreements: Sequence[ReviewerAgreement]
    blind_agreements: Sequence[ReviewerAgreement]
    """Agreement on verdicts that were given blind to scores and others' verdicts."""


def show_run(request: Request) -> Response:
    """Shows one run; of one that does not label, its contents."""
    site, run = site_of(request), run_of(request)
    if run.kind == "explore":
        return _show_kept(request, run)
    if run.kind == "compare":
        return _to_comparison(request, run)
    return page(
        request,
        "overview.html.j2",
        run=run,
        here="overview",
        progress=_progress(site, run),
        command=site.log.read(command_of, run.run_id),
        scorers=site.cache.until(newest_score, _scorers, run.run_id),
        figures=site.cache(_figures, run.run_id, run.n_labelled),
        layers=_layers(site, run),
        hidden=is_blind(request),
        graph_here=is_of(site.graph, run),
        size=(WIDTH, HEIGHT),
    )


def _to_comparison(request: Request, run: RunSummary) -> Response:
    log = site_of(request).log
    made = next((row for row in log.read(comparisons_of) if row.run_id == run.run_id), None)
    return RedirectResponse("/compare" if made is None else f"/compare?of={made.comparison_id}", 303)


@dataclass(frozen=True)
class KeptViewRow:
    """A feature's settings whose evidence was stored while exploring."""

    feature: int
    round: int
    words: str
    created: str
    label: str
    explored: str | None
    """The settings as a query of the explore page, if that page can show them."""


def _show_kept(request: Request, run: RunSummary) -> Response:
    site = site_of(request)
    found = site.log.read(kept_views, run.run_id, _MAX_KEPT)
    fingerprint = str(run.subject["fingerprint"])
    labels = site.log.read(labelled, fingerprint, {view.feature for view in found})
    by_feature = {one.feature: one.label or one.status for one in labels}
    card = site.subject.card if site.subject is not None and site.subject.card.fingerprint == fingerprint else None
    views = [
        KeptViewRow(
            feature=view.feature,
            round=view.round,
            words=vector_words(view.settings.vector),
            created=view.created,
            label=by_feature.get(view.feature, ""),
            explored=None if card is None else query_of(view.settings, card),
        )
        for view in found
    ]
    return page(request, "kept.html.j2", here="runs", kept=run, views=views)


def _scorers(log: RunLog, run_id: int) -> list[tuple[ScoreKind, ScoreHistogram]]:
    kinds = log.read(score_kinds, run_id)
    found = [(kind, histogram(log, kind)) for kind in kinds]
    return [(kind, drawn) for kind, drawn in found if drawn is not None]


def _layers(site: Site, run: RunSummary) -> LayerTable | None:
    """Compares the layers of the run's command; None for a run that is alone."""
    group = group_at(site, run)
    return site.cache(_compared, group.runs[0].run_id) if group.is_many else None


def _compared(log: RunLog, run_id: int) -> LayerTable:
    return layer_table(log, group_of(log.read(chosen_run, run_id), log.read(all_runs)))


def _figures(log: RunLog, run_id: int, n_labelled: int) -> Figures:
    spent = [("labels", log.read(spent_by, run_id))]
    spent += [
        (f"scoring {scoring.scoring_id}, {scoring.judge}", log.read(spent_by, run_id, scoring.scoring_id))
        for scoring in log.read(scorings_of, run_id)
    ]
    return Figures(
        spent=[(name, what) for name, what in spent if what.calls],
        faults=log.read(faults_of, run_id),
        reasons=grouped(log.read(reasons_of, run_id))[:_REASONS],
        winning=winning_settings(log, run_id, n_labelled, _SAMPLED),
        agreements=agreements(log.read(verdicts_of, run_id), _SEED),
        blind_agreements=agreements(log.read(verdicts_of, run_id, blind=True), _SEED),
    )


def grouped(reasons: Sequence[Reason]) -> list[Reason]:
    """Groups reasons that differ only in quoted words and figures, the most frequent first.

    Each group has the words of one feature, the first with its most frequent wording.
    """
    alike: dict[tuple[str, str], list[Reason]] = {}
    for one in reasons:
        alike.setdefault((one.status, _DETAIL.sub("…", one.reason)), []).append(one)
    found = []
    for same in alike.values():
        example = min(same, key=lambda one: (-one.n, one.example))
        found.append(Reason(example.status, example.reason, sum(one.n for one in same), example.example))
    return sorted(found, key=lambda one: -one.n)


def tell_progress(request: Request) -> Response:
    """Returns a run's progress as JSON, for the script that asks every two seconds."""
    return as_json(_progress(site_of(request), run_of(request)))


def _progress(site: Site, run: RunSummary) -> dict[str, str | int | float | bool | None]:
    """Returns the figures that change while a run goes on."""
    n_done = run.n_labelled + run.n_abstained + run.n_failed + run.n_probed
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
        "written": site.log.read(last_written, run.run_id),
    }


routes = [
    Route("/", show_runs, name="runs"),
    Route("/runs/{run_id:row}", show_run, name="overview"),
    Route("/runs/{run_id:row}/progress", tell_progress, name="progress"),
]
