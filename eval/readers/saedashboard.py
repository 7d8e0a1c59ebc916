"""SAEDashboard's `batch-N.json`: one object with the model's name and a list of features, each with its texts.

It calls SAELens' `fold_W_dec_norm` first, so activations are times the length of the feature's decoder row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.readers import checks
from eval.readers.base import ReadRequest, ReadResult, RecordError, RecordFaults
from eval.readers.files import files_in, keys_near_start, records
from eval.readers.gathering import ExampleGatherer
from eval.readers.histogram import NO_HISTOGRAM, ActivityHistogram, activity, histogram_of, tokens_seen
from eval.readers.spelling import spelled_out

_ENDINGS = (".json", ".json.gz")
_NAMING = ("model_id", "layer", "sae_set")


def recognises(file: Path) -> bool:
    """Tells whether the file is an object with a list of features, numbered SAEDashboard's way."""
    return file.name.endswith(_ENDINGS) and keys_near_start(file) >= {"features", "feature_index"}


def read(path: Path, wanted: ReadRequest) -> ReadResult:
    """A batch, or a folder of them; settings and lists of skipped features lie beside them and are not read.

    Raises ExamplesError where nothing can be read.
    """
    gathered, faults = ExampleGatherer(wanted), RecordFaults()
    named: dict[str, str] = {}
    histograms: dict[int, ActivityHistogram] = {}
    for file in files_in(path, *_ENDINGS):
        if path.is_file() or file.name.startswith("batch-"):
            for entry in records(file, faults, member="features"):
                with faults.at(entry.where):
                    if entry.member in _NAMING and entry.value not in ("", None):
                        named.setdefault(entry.member, checks.name({entry.member: entry.value}, entry.member))
                    elif entry.member == "features":
                        _take(gathered, faults, histograms, entry.value, entry.where)
    n_tokens = tokens_seen(histograms)
    for feature, histogram in histograms.items():
        if wanted.wants(feature) and (known := activity(feature, histogram, n_tokens)):
            gathered.set_activity(known)
    of = "/".join(named[name] for name in _NAMING if name in named)
    return gathered.reading(f"saedashboard:{of}" if of else "saedashboard", faults, "length")


def _take(
    gathered: ExampleGatherer, faults: RecordFaults, histograms: dict[int, ActivityHistogram], value: Any, where: str
) -> None:
    """One feature. Histograms of unwanted ones are taken too: together they tell how many tokens were looked at."""
    record = checks.needed(value, "feature_index", "activations")
    feature = checks.feature_index(record, "feature_index")
    gathered.n_records += 1
    if histogram := histogram_of(record):
        histograms[feature] = histogram
    if gathered.wanted.wants(feature):
        if histogram is None:
            faults.add(f"{where}: {NO_HISTOGRAM}.")
        _take_texts(gathered, faults, feature, record, where)


def _take_texts(
    gathered: ExampleGatherer, faults: RecordFaults, feature: int, record: Mapping[str, Any], where: str
) -> None:
    if not isinstance(record["activations"], list):
        raise RecordError("`activations` is not a list")
    for number, item in enumerate(record["activations"], start=1):
        with faults.at(f"{where}, item {number} of `activations`"):
            known = checks.needed(item, "tokens", "values")
            tokens = checks.texts(known, "tokens")
            values = checks.activations(known, "values", len(tokens))
            gathered.add_text(feature, spelled_out(tokens), values)
