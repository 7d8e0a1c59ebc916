"""Draws the log's rows as tables and pages for the terminal. Returns renderables; prints nothing.

Every text from outside goes through `printable` into a rich `Text`: it can neither be markup nor move the cursor.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderableType, RenderHook, RenderResult
from rich.table import Table
from rich.text import Text

from agent.cli.commands.doctor import Finding
from agent.evidence.badge import list_badge
from agent.evidence.basis import Basis
from agent.evidence.printable import escaped, printable
from agent.evidence.wording import activity_words, folded, percent, token_words
from agent.groups import RunGroup, groups_of, layer_of
from agent.log.calls import CallRow
from agent.log.labels import LabelRow
from agent.log.runs import RunSummary
from agent.log.scores import ScoreRow
from eval.scoring.variants import variant_words
from probes.evidence import Projection, ScoredToken, TokenList

if TYPE_CHECKING:  # types alone: statistics take their time to be imported, and a list of labels needs none
    from eval.metrics import Estimate
    from eval.scoring.report import ScoreSummary
    from eval.scoring.source_scores import SourceScore

_PLAIN_WIDTH = 150
"""Columns where nobody's window sets them: files, pipes, logs of other programs."""
_RUN_COLUMNS = (
    "run",
    "begun (UTC)",
    "status",
    "subject",
    "explainer",
    "features",
    "labelled",
    "abstained",
    "failed",
)
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal obeys, but the line break."""
_STATUS_STYLE = {"labelled": "", "abstained": "dim", "failed": "red"}


def console() -> Console:
    """Makes a console without rich's guesses about markup, emoji and highlighting."""
    fixed = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PLAIN_WIDTH
    screen = Console(highlight=False, markup=False, emoji=False, width=fixed)
    screen.push_render_hook(_Guard())
    return screen


class _Guard(RenderHook):
    """Lets no control character of a text reach the terminal: the last door, behind every `printable`."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Guards each of them."""
        return [_Guarded(renderable) for renderable in renderables]


@dataclass(frozen=True)
class _Guarded:
    """A renderable without control characters but those that the console makes itself."""

    inner: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields its segments."""
        for segment in console.render(self.inner, options):
            text = segment.text if segment.control else _CONTROL.sub(lambda found: escaped(found[0]), segment.text)
            yield segment._replace(text=text)


def facts(lines: Iterable[tuple[str, str]]) -> Table:
    """Lists names in bold with the facts about them."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in lines:
        grid.add_row(name, Text(printable(text)))
    return grid


def finding(found: Finding) -> Text:
    """Formats one line of the doctor's report."""
    style = "" if found.good else "red"
    return Text.assemble((f"{found.topic:<26}", "bold"), (printable(found.text), style))


def spread(rows: Sequence[LabelRow], most: int) -> list[LabelRow]:
    """Returns at most `most` of the rows at equal distances, the first and the last included."""
    if len(rows) <= most:
        return list(rows)
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]


def labels_table(
    rows: Sequence[LabelRow],
    basis: Mapping[int, Basis],
    concepts: Mapping[int, str],
    probabilities: Mapping[int, float] | None = None,
    address: Callable[[int, int], str] = lambda _run_id, feature: str(feature),
) -> Table:
    """Lists labels with their evidence, `basis`, by label; `concepts` are the features' known concepts, if there are
    any, `probabilities`, by label, that the labels are right, and `address` names a run's feature."""
    right = ["right"] if probabilities else []
    table = _table("feature", "label", "conf.", *right, "a definition in its tree", "prob.", "tokens")
    if concepts:
        table.add_column("known concept")
    for row in rows:
        found = basis.get(row.label_id, Basis())
        cells = [
            Text(address(row.run_id, row.feature)),
            label_text(row),
            Text("" if row.confidence is None else f"{row.confidence:.2f}"),
            *(Text(_rounded((probabilities or {}).get(row.label_id))) for _ in right),
            Text(found.definition),
            Text("" if found.probability is None else percent(found.probability)),
            Text(", ".join(found.tokens)),
        ]
        known = [Text(printable(concepts.get(row.feature, "")))] if concepts else []
        table.add_row(*cells, *known)
    return table


def label_text(row: LabelRow) -> Text:
    """Formats the label, or the feature's status in its place, with the reason of a failure."""
    reason = f": {_cut(row.reason, 80)}" if row.status == "failed" else ""
    words = row.label if row.status == "labelled" else f"({row.status}{reason})"
    return Text(printable(words), style=_STATUS_STYLE[row.status])


def runs_table(runs: Sequence[RunSummary]) -> Table:
    """Lists the runs of a log, one per line, those of one command over several SAEs on one line together; a column
    counts probed features if a run asked no explainer."""
    probes = any(run.n_probed for run in runs)
    table = _table(*_RUN_COLUMNS, *(["probed only"] if probes else []))
    for group in groups_of(runs):
        table.add_row(*(Text(printable(cell)) for cell in _group_cells(group, probes)))
    return table


def _group_cells(group: RunGroup, probes: bool) -> Iterator[str]:
    first, runs = group.runs[0], group.runs
    yield group.numbers
    yield min(run.created for run in runs)[:16].replace("T", " ")
    yield group.status
    yield f"{first.subject['model']}, {group.layers}" if group.is_many else str(first.subject["name"])
    yield first.made_by
    features = f"{layer_of(first)}:{first.features}, ..." if group.is_many else first.features
    yield f"{sum(run.n_asked for run in runs):,}: {_cut(features, 24)}"
    for count in ("n_labelled", "n_abstained", "n_failed", *(["n_probed"] if probes else [])):
        number = sum(getattr(run, count) for run in runs)
        yield "" if count == "n_probed" and not number else f"{number:,}"


def calls_table(calls: Sequence[CallRow]) -> Table:
    """Lists the questions asked about a feature, with their costs."""
    table = _table("round", "for", "attempt", "model", "answer", "tokens in", "out", "cost $", "ms", "error")
    for call in calls:
        proposed = _answer_words(call)
        cells = (
            str(call.round),
            call.purpose,
            str(call.attempt),
            f"{call.provider}:{call.model}{_how(call)}",
            _cut(proposed, 80),
            *map(_figure, (call.input_tokens, call.output_tokens, call.cost_usd, call.duration_ms)),
            call.error or "",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table


def scores_table(lines: Sequence["ScoreSummary"], layers: Sequence[str] = ()) -> Table:
    """Lists means over features with 95 % intervals, and controls with how far the label is ahead of each, on the
    features (`of`) that have both. `layers`, if there are several, has one for each line."""
    heads = (
        "scorer",
        "examples",
        "label scored",
        "mean",
        "95 % interval",
        "features",
        "chance",
        "label ahead by",
        "of",
    )
    table = _table(*(["layer"] if layers else []), *heads)
    for place, line in enumerate(lines):
        mean = line.mean
        table.add_row(
            *layers[place : place + 1],
            f"{line.scorer} ({line.metric})",
            line.part.replace("_", " "),
            variant_words(line.variant),
            _rounded(mean.value),
            _interval(mean),
            str(mean.n),
            _rounded(line.chance),
            "" if line.ahead is None else f"{_rounded(line.ahead.value)} {_interval(line.ahead)}",
            "" if line.ahead is None else str(line.ahead.n),
        )
    return table


def source_scores_table(lines: Sequence["SourceScore"]) -> Table:
    """Lists what sources say of labels of their own, and our labels' scores on the same features."""
    heads = ("source", "its score", "mean", "95 % interval", "features", "our labels there", "95 % interval", "of")
    table = _table(*heads)
    for line in lines:
        ours = line.ours
        table.add_row(
            Text(printable(line.author)),
            Text(printable(f"{line.scorer} ({line.metric})" if line.metric else line.scorer)),
            _rounded(line.mean.value),
            _interval(line.mean),
            str(line.mean.n),
            *(("", "", "") if ours is None else (_rounded(ours.value), _interval(ours), str(ours.n))),
        )
    return table


def feature_scores_table(scores: Sequence[ScoreRow]) -> Table:
    """Lists the scores of one feature's label and its controls."""
    table = _table("scorer", "examples", "label scored", "value", "95 % interval", "n", "unscored because")
    for score in scores:
        table.add_row(
            f"{score.scorer} ({score.metric})" if score.metric else score.scorer,
            score.part.replace("_", " "),
            Text(printable(f"{variant_words(score.variant)}: {score.label}")),
            _rounded(score.value),
            "" if score.low is None or score.high is None else f"[{score.low:.2f}, {score.high:.2f}]",
            str(score.n),
            Text(printable(score.reason or "")),
        )
    return table


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _interval(estimate: "Estimate") -> str:
    return "" if estimate.low is None or estimate.high is None else f"[{estimate.low:.2f}, {estimate.high:.2f}]"


def _answer_words(call: CallRow) -> str:
    """Formats a proposal in few words; any other answer as it stands."""
    answer = call.answer or {}
    if "action" in answer:
        return f"{answer['action']}: {answer.get('label') or answer.get('reason') or ''}"
    return json.dumps(call.answer) if call.answer else ""


def token_list(found: TokenList) -> Table:
    """Lists the tokens of a list with scores and ids; for vocabulary weights each word once, with its z."""
    if not found.z:
        table = _table("rank", "token", "score", "id")
        for rank, token in enumerate(found.tokens, start=1):
            table.add_row(str(rank), Text(token_words(token.token)), f"{token.score:.4g}", str(token.token_id))
        return table
    defined = {found.tokens[one.place]: one.text for one in found.definitions}
    table = _table("rank", "token", "pre-activation", "z", "id", *(["definition"] if defined else []))
    z = dict(zip(found.tokens, found.z, strict=True))
    for rank, token in enumerate(folded(found.tokens), start=1):
        words, score = Text(token_words(token.token)), f"{token.score:.4g}"
        told = [Text(printable(defined.get(token, "")))] if defined else []
        table.add_row(str(rank), words, score, f"{z[token]:.1f}", str(token.token_id), *told)
    return table


def token_line(found: TokenList, most: int = 40) -> RenderableType:
    """Formats the first tokens of a list as running text; for vocabulary weights with their reliability below."""
    if not found.z:
        return _running("nearest tokens", found.tokens[:most])
    badge = list_badge(found)
    said = [*([badge.brief] if badge else []), *activity_words(found)]
    return Group(_running("activated most by", folded(found.tokens)[:most]), Text(f"({'; '.join(said)})"))


def projection_lines(found: Projection) -> RenderableType:
    """Returns the tokens that the decoder row raises and lowers, in running text."""
    return Group(_running("raises", found.top), _running("lowers", found.bottom))


def _running(name: str, tokens: Sequence[ScoredToken]) -> Text:
    return Text.assemble((f"{name}: ", "bold"), "  ".join(token_words(token.token) for token in tokens))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _how(call: CallRow) -> str:
    """Returns the source of a call's answer, if it was no request of its own."""
    return ", from the log" if call.cached else f", batch {call.batch_id}" if call.batch_id is not None else ""


def _figure(number: float | None) -> str:
    return "" if number is None else f"{number:.4g}" if isinstance(number, float) else str(number)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
