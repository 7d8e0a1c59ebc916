"""CSV for spreadsheets: one line for each feature, safe to open.

Text is on one line and printable, as in the terminal, and what a spreadsheet would take for a formula gets an
apostrophe in front, as OWASP advises ("CSV Injection"). That changes text; JSONL has it unchanged.
"""

import csv
from io import TextIOWrapper
from pathlib import Path

from agent.evidence.printable import printable
from agent.export.base import ExportedRun
from agent.export.columns import Cell, table
from probes.doors.outputs import written

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""The wide signs count in spreadsheets of East Asian languages. Tab and carriage return are escaped before."""


def write(exported: ExportedRun, path: Path) -> None:
    """Writes the table. Raises OutputError."""
    found = table(exported)
    with written(path) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow([harmless(column.name) for column in found.columns])
        lines.writerows([harmless(cell) for cell in row] for row in found.rows())
        text.detach()


def harmless(cell: Cell) -> Cell:
    """Returns a cell that a spreadsheet reads as a number or as text, never as a formula."""
    if not isinstance(cell, str):
        return cell
    text = printable(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
