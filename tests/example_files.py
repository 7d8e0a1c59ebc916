"""Small example files in other tools' formats, for tests."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eval.readers import read_examples
from probes.examples import FeatureExamples

SAE = {"modelId": "gemma-x", "layer": "6-res-jb"}
TEXT = {"tokens": ["▁a", "▁cat", "s", "."], "values": [0, 3.5, 0.25, 0]}
BARS = {
    "frac_nonzero": 0.012,
    "freq_hist_data_bar_values": [1.5, 2.5, 3.5],
    "freq_hist_data_bar_heights": [7, 0, 5],
    "maxActApprox": 3.9,
}


def np_text(index: int | str = "5", **fields: Any) -> dict[str, Any]:
    """An activation line of Neuronpedia's."""
    return {"id": "c1", **SAE, "index": index, **TEXT, "maxValue": 3.5, "binMin": -1, **fields}


def plain(feature: int = 5, **fields: Any) -> dict[str, Any]:
    """A line of plain JSONL."""
    return {"feature": feature, "tokens": ["a", " cat"], "activations": [0, 3.5], **fields}


def lines(records: Iterable[Any]) -> bytes:
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in records)


def write(file: Path, content: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return file


def only(path: Path, **options: Any) -> FeatureExamples:
    """The one feature that can be read, without faults."""
    reading = read_examples(path, **options)
    assert reading.faults == ()
    (collected,) = reading.features.values()
    return collected


def api_record(**fields: Any) -> dict[str, Any]:
    """A feature as the API gives it: texts and explanations inside."""
    explanation = {"id": "e", "description": "cats", "explanationModelName": "gpt-4o", "typeName": None, "scores": []}
    texts = [{**TEXT, "dataIndex": "17", "dataSource": "pile"}, {**TEXT, "dataIndex": None}]
    return {**SAE, "index": "5", **BARS, "activations": texts, "explanations": [explanation], "lists": [], **fields}
