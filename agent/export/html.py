"""One HTML file that can be mailed: summary, scores as a picture, a table of labels to search and sort, and features,
each with its best tree, its scores beside their controls, and its card.

It needs no network and no second file. Texts are printable and escaped; a policy in the page allows its own script, by
its hash, and nothing else that could run.
"""

from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent.drawing.svg import tree_svg
from agent.evidence.branches import Trim
from agent.export.base import ExportedRun, Record
from agent.export.card import FeatureCard, card, cut
from agent.export.columns import later, latest_scorings
from agent.export.dots import Dots, dot_plot
from agent.log.scores import ScoringRow
from eval.pictures import score_figure
from eval.plots import image
from eval.scoring.variants import variant_words
from probes.doors.outputs import written
from probes.evidence import Evidence, Tree

_TEMPLATES = Path(__file__).parent / "templates"
_WORDS_CHARS = 300
_TREE_NODES = 24
"""Of a tree that is drawn: some 7 kB for each feature."""


@dataclass(frozen=True)
class _Row:
    """A row of the table of labels."""

    feature: str
    """Its address."""
    label: str
    status: str
    cells: Sequence[str]
    """Cells of the further columns, after feature and label."""


@dataclass(frozen=True)
class _Part:
    """The section of a feature below the table."""

    card: FeatureCard
    tree: Markup | None
    scores: Markup | None


def write(exported: ExportedRun, path: Path) -> None:
    """Writes the page. Raises OutputError."""
    latest = latest_scorings(exported)
    script = (_TEMPLATES / "report.js").read_text("utf-8")
    page = (
        environment()
        .get_template("report.html.j2")
        .stream(
            title=f"Labels of {cut(_subject_name(exported), 100)}, {exported.group.words.lower()}",
            facts=[*_facts(exported)],
            picture=_picture(exported),
            heads=[
                *(["probability"] if exported.calibrated else []),
                "confidence",
                *(cut(scorer, 60) for scorer in latest),
                "class",
                "review",
            ],
            rows=_rows(exported, latest),
            parts=_parts(exported, latest),
            script=Markup(script),  # our own
            script_hash=b64encode(sha256(script.encode("utf-8")).digest()).decode("ascii"),
        )
    )
    with written(path) as file:
        for piece in page:
            file.write(piece.encode("utf-8"))


@cache
def environment() -> Environment:
    """Makes the environment of HTML templates: everything escaped, nothing undefined."""
    return Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _subject_name(exported: ExportedRun) -> str:
    subject = exported.run.subject
    return f"{subject['model']}, {exported.group.layers}" if exported.group.is_many else str(subject["name"])


def _facts(exported: ExportedRun) -> Iterator[tuple[str, str]]:
    for run in exported.group.runs:
        subject = run.subject
        place = f"{subject['name']}: {subject['model']}, SAE {subject['sae']} at {subject['hook']}"
        counts = f"{run.n_labelled:,} labelled, {run.n_abstained:,} abstained, {run.n_failed:,} failed"
        yield "subject", cut(place, _WORDS_CHARS)
        yield "features", f"{run.n_asked:,}: {counts}"
        if run.n_calls:
            cost = "cost unknown" if run.cost_usd is None else f"${run.cost_usd:,.4f}"
            yield "calls", f"{run.n_calls:,}, {cost}"
    yield "explainer", cut(exported.run.explainer, _WORDS_CHARS)
    yield "begun", f"{exported.run.created[:16].replace('T', ' ')} UTC, {exported.run.status}"


def _picture(exported: ExportedRun) -> Markup | None:
    """Draws the latest scoring beside its controls; None if nothing was scored."""
    scores = [(record.run.run_id, scored) for record in exported.records for scored in record.scores]
    if not scores:
        return None
    latest: dict[int, ScoringRow] = {}
    for run_id, scored in scores:
        latest[run_id] = later(latest.get(run_id, scored.scoring), scored.scoring)
    shown = [scored.score for run_id, scored in scores if scored.scoring == latest[run_id]]
    figure = score_figure(shown, seed=0)
    svg = image(figure, "svg").decode("utf-8")
    return Markup(svg[svg.index("<svg") :])  # matplotlib's own, its texts escaped


def _rows(exported: ExportedRun, latest: Mapping[str, Collection[int]]) -> Iterator[_Row]:
    for record in exported.records:
        label, row = exported.label_of(record), record.label
        scores = {dots.scorer: dots.own.value for dots in _dots(record, latest)}
        cells = [
            *([_figure(record.probability)] if exported.calibrated else []),
            _figure(row.confidence),
            *(_figure(scores.get(scorer)) for scorer in latest),
            "" if record.sorted_as is None else str(record.sorted_as),
            "" if record.review is None else record.review.verdict,
        ]
        yield _Row(exported.address(record), cut(label or "", _WORDS_CHARS), row.status, cells)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _parts(exported: ExportedRun, latest: Mapping[str, Collection[int]]) -> Iterator[_Part]:
    for record in exported.records:
        evidence = exported.evidence(record)
        yield _Part(
            card(record, exported.label_of(record), evidence, exported.collected(record), exported.address(record)),
            _best_tree(evidence),
            dot_plot([*_dots(record, latest)]),
        )


def _best_tree(evidence: Sequence[Evidence]) -> Markup | None:
    """Returns the tree that differs most from random directions'; the first if none was compared."""
    trees = [item for item in evidence if isinstance(item, Tree)]
    if not trees:
        return None
    best = max(trees, key=lambda tree: -1.0 if tree.contrast is None else tree.contrast.divergence)
    return Markup(tree_svg(best, Trim(_TREE_NODES)))  # its texts are escaped there


def _dots(record: Record, latest: Mapping[str, Collection[int]]) -> Iterator[Dots]:
    """Yields each scorer's latest score of the label on all held-out examples, with that scoring's controls."""
    for scorer, scorings in latest.items():
        mine = [
            scored.score
            for scored in record.scores
            if (scored.score.scorer, scored.score.part) == (scorer, "held_out")
            and scored.scoring.scoring_id in scorings
        ]
        own = next((score for score in mine if score.variant == "label"), None)
        if own is not None:
            names = {score.variant: cut(variant_words(score.variant), 60) for score in mine}
            others = [(names[s.variant], s.value) for s in mine if s.variant != "label" and s.value is not None]
            yield Dots(cut(scorer, 60), own, others)
