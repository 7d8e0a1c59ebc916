"""A run as files for other tools and other people, one form per module; they share only `base`."""

from collections.abc import Callable
from pathlib import Path

from agent.export import csv_table, html, jsonl, neuronpedia, parquet
from agent.export.base import ExportedRun
from eval.errors import ExportError

FORMS: dict[str, Callable[[ExportedRun, Path], None]] = {
    "csv": csv_table.write,
    "jsonl": jsonl.write,
    "parquet": parquet.write,
    "html": html.write,
    "neuronpedia": neuronpedia.write,
}
"""Each writes all of a run to a path; `neuronpedia` a folder, the others a file."""

_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".html": "html"}


def form_of(path: Path, name: str | None) -> str:
    """Returns the form by `name`, else by the path's ending. Raises ExportError."""
    if name is not None and name not in FORMS:
        raise ExportError(f"There is no export format {name!r}; there are {', '.join(FORMS)}.")
    form = name or _ENDINGS.get(path.suffix.lower())
    if form is None:
        raise ExportError(
            f"The ending of {path} names no form of export: .csv, .jsonl, .parquet and .html do; or name one with "
            "--format, as for the folder that Neuronpedia's batches go to."
        )
    return form
