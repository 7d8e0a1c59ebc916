"""Plain JSONL, one text on a line: `{"feature": 7, "tokens": ["a", " cat"], "activations": [0, 3.5]}`.

Optional: `document`, which keeps texts of one source text in one split, and `kind`. Any tool's own script can write it.
"""

from pathlib import Path
from typing import Any, get_args

from eval.readers import checks
from eval.readers.base import ReadRequest, ReadResult, RecordError, RecordFaults
from eval.readers.files import files_in, keys_near_start, records
from eval.readers.gathering import ExampleGatherer
from eval.readers.spelling import spelled_out
from probes.examples import ExampleKind

_ENDINGS = (".jsonl", ".jsonl.gz")
_KINDS: dict[str, ExampleKind] = {kind: kind for kind in get_args(ExampleKind)}


def recognises(file: Path) -> bool:
    """Tells whether the file's records have a feature beside a text."""
    keys = keys_near_start(file)
    return "feature" in keys and bool(keys & {"tokens", "activations", "text"})


def read(path: Path, wanted: ReadRequest) -> ReadResult:
    """A file, or a folder of them. Raises ExamplesError where nothing can be read."""
    gathered, faults = ExampleGatherer(wanted), RecordFaults()
    for file in files_in(path, *_ENDINGS):
        for entry in records(file, faults):
            with faults.at(entry.where):
                _take(gathered, entry.value)
    return gathered.reading(f"jsonl:{path.name}", faults)


def _take(gathered: ExampleGatherer, value: Any) -> None:
    if isinstance(value, dict) and "text" in value and not {"tokens", "activations"} & value.keys():
        raise RecordError(
            "it has a `text` alone, which does not tell where the feature activates: give `tokens` and `activations`, "
            "or run the subject over the texts as a corpus"
        )
    record = checks.needed(value, "feature", "tokens", "activations")
    feature = checks.feature_index(record, "feature")
    gathered.n_records += 1
    if gathered.wanted.wants(feature):
        tokens = checks.texts(record, "tokens")
        values = checks.activations(record, "activations", len(tokens))
        gathered.add_text(feature, spelled_out(tokens), values, _document(record), _kind(record))


def _document(record: dict[str, Any]) -> str:
    document = record.get("document")
    if document is None or isinstance(document, str):
        return document or ""
    if isinstance(document, int):
        return str(document)
    raise RecordError("`document` is neither a text nor a number")


def _kind(record: dict[str, Any]) -> ExampleKind | None:
    kind = record.get("kind")
    if kind is None:
        return None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise RecordError(f"`kind` is {kind!r}, not one of {', '.join(_KINDS)}")
    return _KINDS[kind]
