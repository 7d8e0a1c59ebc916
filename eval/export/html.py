"""One HTML file that can be mailed: summary, scores as a picture, labels, a card for each feature.

It needs no script, no network and no second file. Texts are printable and escaped; a policy in the page forbids what
could run all the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent.runlog import RunSummary
from eval.export.base import Exported, written
from eval.export.card import Card, card, cut
from eval.pictures import score_figure
from eval.plots import image

_WORDS_CHARS = 300


@dataclass(frozen=True)
class _Row:
    """A line of the table of labels."""

    feature: int
    label: str
    status: str
    confidence: str
    verdict: str


def write(exported: Exported, path: Path) -> None:
    """Raises ExportError."""
    run = exported.run
    page = (
        environment()
        .get_template("report.html.j2")
        .stream(
            title=f"Labels of {cut(str(run.subject['name']), 100)}, run {run.run_id}",
            facts=[*_facts(run)],
            picture=_picture(exported),
            rows=_rows(exported),
            cards=_cards(exported),
        )
    )
    with written(path) as file:
        for piece in page:
            file.write(piece.encode("utf-8"))


@cache
def environment() -> Environment:
    """Templates for HTML: everything escaped, nothing undefined."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates", encoding="utf-8"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _facts(run: RunSummary) -> Iterator[tuple[str, str]]:
    subject = run.subject
    place = f"{subject['name']}: {subject['model']}, SAE {subject['sae']} at {subject['hook']}"
    counts = f"{run.n_labelled:,} labelled, {run.n_abstained:,} abstained, {run.n_failed:,} failed"
    yield "subject", cut(place, _WORDS_CHARS)
    yield "explainer", cut(run.explainer, _WORDS_CHARS)
    yield "begun", f"{run.created[:16].replace('T', ' ')} UTC, {run.status}"
    yield "features", f"{run.n_asked:,}: {counts}"
    if run.n_calls:
        cost = "cost unknown" if run.cost_usd is None else f"${run.cost_usd:,.4f}"
        yield "calls", f"{run.n_calls:,}, {cost}"


def _picture(exported: Exported) -> Markup | None:
    """The latest scoring beside its controls; None where nothing was scored."""
    scores = [scored for record in exported.records for scored in record.scores]
    if not scores:
        return None
    latest = max(scored.scoring.scoring_id for scored in scores)
    figure = score_figure([scored.score for scored in scores if scored.scoring.scoring_id == latest], seed=0)
    svg = image(figure, "svg").decode("utf-8")
    return Markup(svg[svg.index("<svg") :])  # matplotlib's own, its texts escaped


def _rows(exported: Exported) -> Iterator[_Row]:
    for record in exported.records:
        label, row = exported.label_of(record), record.label
        confidence = "" if row.confidence is None else f"{row.confidence:.2f}"
        verdict = "" if record.review is None else record.review.verdict
        yield _Row(row.feature, cut(label or "", _WORDS_CHARS), row.status, confidence, verdict)


def _cards(exported: Exported) -> Iterator[Card]:
    for record in exported.records:
        feature = record.label.feature
        yield card(record, exported.label_of(record), exported.evidence(feature), exported.collected(feature))
