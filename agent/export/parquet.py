"""Parquet for data frames: the columns of the CSV with their types, texts as they are but for lone surrogates."""

from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from agent.export.base import ExportedRun
from agent.export.columns import Cell, table
from eval.errors import ExportError
from probes.doors.outputs import written

_ROWS = 10_000
"""At a time."""


def write(exported: ExportedRun, path: Path) -> None:
    """Writes the table. Raises OutputError, and ExportError if pyarrow is not installed."""
    arrow, parquet = _pyarrow(path)
    types = {"text": arrow.string(), "whole": arrow.int64(), "real": arrow.float64()}
    found = table(exported)
    schema = arrow.schema([(_storable(column.name), types[column.kind]) for column in found.columns])
    rows = found.rows()
    with written(path) as file, parquet.ParquetWriter(file, schema) as writer:
        while some := list(islice(rows, _ROWS)):
            cells = ([_storable(cell) for cell in column] for column in zip(*some, strict=True))
            writer.write_table(arrow.table([*cells], schema=schema))


def _storable(cell: Cell) -> Cell:
    """Escapes lone surrogates, which UTF-8 cannot hold."""
    return cell.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(cell, str) else cell


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ExportError(
            f"Writing {path} needs the package pyarrow, which is not installed; install sae-interpret[parquet]."
        ) from None
