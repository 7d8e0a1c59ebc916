"""Readers of example files, by the name of their format. A reader is a module; readers share a protocol only."""

from collections.abc import Collection
from pathlib import Path

from eval.errors import ExamplesError
from eval.readers import delphi, jsonl, neuronpedia, saedashboard
from eval.readers.base import Reader, ReadRequest, ReadResult, Vocabulary
from eval.readers.files import files_in
from probes.doors import door
from probes.doors.given import shown

__all__ = ["READERS", "ReadResult", "Vocabulary", "format_of", "read_examples"]

READERS: dict[str, Reader] = {
    "neuronpedia": neuronpedia,
    "saedashboard": saedashboard,
    "delphi": delphi,
    "jsonl": jsonl,
}
"""Asked in this order whether a file is theirs."""

_FILES_LOOKED_AT = 20


def read_examples(
    path: Path,
    format: str | None = None,
    features: Collection[int] | None = None,
    vocabulary: Vocabulary | None = None,
    seed: int = 0,
) -> ReadResult:
    """Examples of `features`, or of all there are, from a file or folder; `format` is found from the files where None.

    `vocabulary` is the subject's, needed for formats that hold token ids. Raises ExamplesError where nothing can be
    read, the format is unknown, or the files are of another subject.
    """
    wanted = ReadRequest(None if features is None else frozenset(features), vocabulary, seed)
    with door(ExamplesError, f"Examples {path} cannot be read: {{cause}}."):
        name = format or format_of(path)
        if name not in READERS:
            raise ExamplesError(f"Format {shown(name)} is unknown; choose among: {', '.join(READERS)}.")
        return READERS[name].read(path, wanted)


def format_of(path: Path) -> str:
    """The name of the format that `path`, a file or folder, is in. Raises ExamplesError where it cannot be told."""
    files = files_in(path, "")
    if not files:
        raise ExamplesError(f"Folder {path} is empty.")
    for file in files[:_FILES_LOOKED_AT]:
        for name, reader in READERS.items():
            if reader.recognises(file):
                return name
    raise ExamplesError(
        f"The format of {path} cannot be told from its files; name it, one of {', '.join(READERS)}, or check the path."
    )
