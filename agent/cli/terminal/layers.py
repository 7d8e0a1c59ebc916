"""The layers of one command beside one another, as a table."""

from rich.table import Table

from agent.cli.terminal.tables import plain_table
from eval.layer_table import LayerTable
from eval.metrics import Estimate


def layers_table(found: LayerTable) -> Table:
    """Lists the layers with shares and means, each with its 95 % interval."""
    scored = [] if found.scorer is None else [f"mean {found.scorer}"]
    table = plain_table("layer", "features", "labelled", "median conf.", "lists that differ from random", *scored)
    for row in found.rows:
        table.add_row(
            str(row.layer),
            f"{row.labelled.n:,}",
            _words(row.labelled),
            "" if row.confidence is None else f"{row.confidence:.2f}",
            _words(row.differing),
            *(_score_words(row.score) for _ in scored),
        )
    return table


def _score_words(score: Estimate | None) -> str:
    return "" if score is None else f"{_words(score)}, n {score.n:,}"


def _words(estimate: Estimate) -> str:
    if estimate.value is None:
        return ""
    interval = "" if estimate.low is None or estimate.high is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{interval}"
