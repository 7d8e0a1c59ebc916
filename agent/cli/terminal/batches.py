"""Batches in a terminal: one line each."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from agent.cli.terminal.tables import plain_table
from agent.evidence.printable import printable
from agent.log.batches import BatchRow

_COLUMNS = ("batch", "run", "for", "at the provider", "status", "questions", "answered", "cost $", "sent (UTC)", "note")


def batches_table(batches: Sequence[BatchRow]) -> Table:
    """Lists batches with their status and results."""
    table = plain_table(*_COLUMNS)
    for row in batches:
        cells = (
            str(row.batch_id),
            str(row.run_id),
            "labels" if row.scoring_id is None else f"scoring {row.scoring_id}",
            row.provider_id or row.provider,
            row.status,
            f"{row.n_calls:,}",
            f"{row.n_answered:,}",
            "" if row.cost_usd is None else f"{row.cost_usd:.4f}",
            row.created[:16].replace("T", " "),
            row.note or "",
        )
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table
