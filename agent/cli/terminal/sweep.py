"""A sweep drawn with letters: one candidate per line, its statistics as numbers and its score as a bar."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.cli.terminal.outline import bar
from agent.evidence.wording import agreement_words, sweep_words, vector_words
from probes.evidence import Sweep, SweepPoint

_COLUMNS = ("vector", "scale", "score", "", "nats", "p", "bits")
_MISSING = "–"


def sweep_table(sweep: Sweep) -> Group:
    """Lists the candidates in order under the criterion of choice; the chosen one is bold, with an arrow.

    For a single candidate it shows only the agreement of base prompts.
    """
    agreement = Text(agreement_words(sweep), style="dim")
    if len(sweep.points) == 1:
        return Group(agreement)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name in ("", *_COLUMNS):
        table.add_column(name, justify="left" if name in ("vector", "") else "right", no_wrap=True)
    scores = [point.score for point in sweep.points if point.score is not None]
    for place, point in enumerate(sweep.points):
        chosen = place == sweep.chosen
        share = 0.0 if point.score is None else _share(point.score, scores)
        table.add_row("→" if chosen else "", *_cells(point, share), style="bold" if chosen else "")
    return Group(Text(sweep_words(sweep), style="dim"), table, agreement)


def _share(score: float, scores: list[float]) -> float:
    """Returns the score's place between the lowest one and the highest, 0 to 1."""
    low, high = min(scores), max(scores)
    return (score - low) / (high - low) if high > low else 1.0


def _cells(point: SweepPoint, share: float) -> list[Text]:
    return [
        Text(vector_words(point.vector.model_copy(update={"scale": None}))),
        Text(_figure(point.vector.distance, ".4g")),
        Text(_figure(point.score, ".3f")),
        Text(bar(share), style="cyan"),
        Text(_figure(point.divergence, ".3f")),
        Text(_figure(point.p_value, ".2f")),
        Text(_figure(point.entropy_bits, ".2f")),
    ]


def _figure(value: float | None, form: str) -> str:
    return _MISSING if value is None else format(value, form)
