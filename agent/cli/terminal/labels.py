"""The table of `interpret log RUN`; the one printed after a run is in display.py."""

from collections.abc import Callable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from agent.cli.terminal.display import label_text
from agent.cli.terminal.tables import plain_table
from agent.evidence.printable import printable
from agent.log.browsing import BrowsedLabel
from agent.log.comparisons import ClassRow
from agent.log.reviews import latest_verdict


def browsed_table(
    rows: Sequence[BrowsedLabel],
    scorer: str | None,
    classes: Mapping[int, ClassRow],
    address: Callable[[int, int], str] = lambda _run_id, feature: str(feature),
) -> Table:
    """Lists labels with explanations and what else is known of them: probability, score, verdict, class.

    `classes` are by label, `address` names a run's feature.
    """
    reviewed = any(row.reviews for row in rows)
    probable = any(row.probability is not None for row in rows)
    asked = {"right": probable, printable(scorer or ""): scorer is not None, "review": reviewed, "class": bool(classes)}
    table = plain_table(
        "feature",
        "label",
        "conf.",
        *(name for name, is_asked in asked.items() if is_asked),
        "rounds",
        "explanation, or why there is no label",
    )
    for row in rows:
        label = row.label
        cells = (
            _figure(row.probability),
            _figure(row.score),
            latest_verdict(row.reviews) or "",
            str(classes.get(label.label_id, "")),
        )
        table.add_row(
            address(label.run_id, label.feature),
            label_text(label),
            _figure(label.confidence),
            *(cell for cell, is_asked in zip(cells, asked.values(), strict=True) if is_asked),
            str(label.rounds),
            Text(printable(label.explanation or label.reason)),
        )
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
