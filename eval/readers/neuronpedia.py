"""Neuronpedia's files: the public export, its older lists, and records of its API (neuronpedia.org/api-doc).

The export is `{features,activations,explanations}/batch-N.jsonl.gz`; any of the three may be missing, and every record
tells by its fields which of them it is. An API record is a feature with its activations and explanations inside.
Activations are mostly SAEDashboard's, times the length of the feature's decoder row.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.errors import ExamplesError
from eval.readers import checks
from eval.readers.base import ReadRequest, ReadResult, RecordError, RecordFaults
from eval.readers.files import files_in, keys_near_start, records
from eval.readers.gathering import ExampleGatherer
from eval.readers.histogram import NO_HISTOGRAM, ActivityHistogram, activity, histogram_of, tokens_seen
from eval.readers.spelling import spelled_out
from probes.examples import Baseline, BaselineScore

_ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
_OURS = "sae-interpret_"
"""Begins the names of scores that our own exports have."""
_SCORERS = {"eleuther_fuzz": "fuzzing", "eleuther_recall": "detection", "eleuther_embedding": "embedding"}
"""Its names of the scores of Paulo et al. 2024, which are ours too."""
_OF_A_FEATURE = frozenset({"frac_nonzero", "freq_hist_data_bar_values", "activations", "explanations", "maxActApprox"})
"""A record with one of these fields is a feature's own."""


def recognises(file: Path) -> bool:
    """Tells whether the file's records name a model and an index as Neuronpedia's do."""
    return file.name.endswith(_ENDINGS) and keys_near_start(file) >= {"modelId", "layer", "index"}


def read(path: Path, wanted: ReadRequest) -> ReadResult:
    """A file, or a folder with an export or with API records.

    In a folder that has files named `batch-...`, only those are read; others describe the model and the release. Raises
    ExamplesError where nothing can be read or the records are of more than one SAE.
    """
    files = files_in(path, *_ENDINGS)
    batches = [file for file in files if file.name.startswith("batch-")]
    reader = _Reader(ExampleGatherer(wanted), RecordFaults())
    for file in batches or files:
        for entry in records(file, reader.faults):
            with reader.faults.at(entry.where):
                reader.take(entry.value, entry.where)
    return reader.reading()


@dataclass
class _Reader:
    gathered: ExampleGatherer
    faults: RecordFaults
    histograms: dict[int, ActivityHistogram] = field(default_factory=dict)
    """Of unwanted features too: together they tell how many tokens were looked at."""
    source: str = ""

    def take(self, record: Any, where: str) -> None:
        """One record of any kind, or an object of named records."""
        if _is_named_records(record):
            for name, inner in record.items():
                with self.faults.at(f"{where}, {name!r}"):
                    self._take_one(inner, f"{where}, {name!r}")
        else:
            self._take_one(record, where)

    def _take_one(self, record: Any, where: str) -> None:
        known = checks.needed(record, "modelId", "layer", "index")
        feature = checks.feature_index(known, "index")
        self._same_source(f"{checks.name(known, 'modelId')}/{checks.name(known, 'layer')}")
        if "tokens" in known or "values" in known:
            self._activation(feature, known)
        elif "description" in known:
            self._explanation(feature, known)
        elif _OF_A_FEATURE & known.keys():
            self._feature(feature, known, where)
        else:
            raise RecordError("it has the fields of no feature, activation or explanation")
        self.gathered.n_records += 1

    def _same_source(self, source: str) -> None:
        self.source = self.source or source
        if source != self.source:
            raise ExamplesError(
                f"The files hold records of more than one SAE ({self.source}, {source}); name those of one."
            )

    def _feature(self, feature: int, record: Mapping[str, Any], where: str) -> None:
        histogram = histogram_of(record)
        if histogram:
            self.histograms[feature] = histogram
        elif self.gathered.wanted.wants(feature):
            self.faults.add(f"{where}: {NO_HISTOGRAM}.")
        if "activations" in record:
            self._inside(feature, record, where, "activations")
        if "explanations" in record:
            self._inside(feature, record, where, "explanations")

    def _inside(self, feature: int, record: Mapping[str, Any], where: str, name: str) -> None:
        items = record[name] if record[name] is not None else []
        if not isinstance(items, list):
            raise RecordError(f"`{name}` is not a list")
        take = self._activation if name == "activations" else self._explanation
        for number, item in enumerate(items, start=1):
            with self.faults.at(f"{where}, item {number} of `{name}`"):
                take(feature, item)

    def _activation(self, feature: int, record: Any) -> None:
        if self.gathered.wanted.wants(feature):
            known = checks.needed(record, "tokens", "values")
            tokens = checks.texts(known, "tokens")
            values = checks.activations(known, "values", len(tokens))
            self.gathered.add_text(feature, spelled_out(tokens), values, _document(known))

    def _explanation(self, feature: int, record: Any) -> None:
        if self.gathered.wanted.wants(feature):
            text = checks.as_text(checks.needed(record, "description")["description"])
            if not text:
                raise RecordError("`description` is no text, or an empty one")
            by = (checks.as_text(record.get("typeName")), checks.as_text(record.get("explanationModelName")))
            author = ", ".join(filter(None, by)) or "Neuronpedia"
            self.gathered.add_baseline(Baseline(feature, text, author, _scores(record.get("scores"))))

    def reading(self) -> ReadResult:
        """Returns the records taken, with activity computed."""
        n_tokens = tokens_seen(self.histograms)
        for feature, histogram in self.histograms.items():
            known = activity(feature, histogram, n_tokens)
            if known and self.gathered.wanted.wants(feature):
                self.gathered.set_activity(known)
        called = f"neuronpedia:{self.source}" if self.source else "neuronpedia"
        return self.gathered.reading(called, self.faults, "length")


def _scores(scores: object) -> tuple[BaselineScore, ...]:
    """Returns an explanation's scores; what is no score is left out, as most explanations have none."""
    found = []
    for score in scores if isinstance(scores, list) else ():
        value = score.get("value") if isinstance(score, dict) else None
        name = checks.as_text(score.get("explanationScoreTypeName")) if isinstance(score, dict) else ""
        if name and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            about = _details(score.get("jsonDetails"))
            metric, n = checks.as_text(about.get("metric")), about.get("n")
            number = n if isinstance(n, int) and not isinstance(n, bool) and n > 0 else 0
            found.append(BaselineScore(scorer=_scorer(name), metric=metric, value=float(value), n=number))
    return tuple(found)


def _details(text: object) -> dict[str, Any]:
    with suppress(ValueError, TypeError, RecursionError):
        found = json.loads(text) if isinstance(text, str) else text
        return found if isinstance(found, dict) else {}
    return {}


def _scorer(name: str) -> str:
    return _SCORERS.get(name, name.removeprefix(_OURS))


def _is_named_records(record: Any) -> bool:
    return isinstance(record, dict) and "modelId" not in record and any(isinstance(r, dict) for r in record.values())


def _document(record: Mapping[str, Any]) -> str:
    """The text's place in the data set it is from; empty where the record does not say."""
    index, source = record.get("dataIndex"), record.get("dataSource")
    return f"{source or ''}:{index}" if isinstance(index, str | int) and str(index) else ""
