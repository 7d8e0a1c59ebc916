"""Batches for Neuronpedia's upload, `POST /api/feature/upload-batch`: a folder of `batch-N.json`, one request each.

After the published form of that request (docs of neuronpedia.org, 2026): features with density, logits, explanations
and activations. Scores stand in each explanation in the form in which the API gives them out. It was never tested
against the server.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, groupby, islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agent.export.base import ExportedRun, ExportedScore, Neuronpedia, Record
from eval.errors import ExportError
from probes.doors.outputs import written
from probes.evidence import Projection, ScoredToken
from probes.examples import Activity, Example, FeatureExamples

MAX_FEATURES = 128
"""In one request."""
MAX_CHARS = 512
"""Of an explanation."""
_TEXTS = 20
"""Most of a feature: a request of 128 then has a few megabytes."""
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_STRATA = 10
"""Parts of a feature's range, by which its texts are told apart."""


EVIDENCE = "evidence.html"
"""The page of evidence beside the batches, that `interpret publish` writes."""


def write(exported: ExportedRun, path: Path, evidence: str | None = None) -> None:
    """Writes batches; scores link to the feature's place in the page `evidence`, an address, if there is one.

    They go into the folder `path`, made if missing, each of one run. Raises ExportError if it has some, OutputError.
    """
    if exported.neuronpedia is None:
        raise ExportError(f"{path} cannot be written: model, source, method and model name at Neuronpedia are needed.")
    make_folder(path)
    with TemporaryDirectory(dir=path, prefix=".unfinished-") as beside:  # what is cut off is no folder of batches
        made = [*_batches(exported, exported.neuronpedia, Path(beside), evidence)]
        for batch in made:
            batch.replace(path / batch.name)


def _batches(
    exported: ExportedRun, named: Mapping[int, Neuronpedia], folder: Path, evidence: str | None
) -> Iterator[Path]:
    """Writes the batches, and yields the file of each."""
    number = count()
    for run_id, records in groupby(exported.records, key=lambda record: record.run.run_id):
        about = named[run_id]
        while some := list(islice(records, MAX_FEATURES)):
            features = [_feature(exported, about, record, evidence) for record in some]
            batch = {"modelId": about.model, "source": about.source, "features": features}
            place = folder / f"batch-{next(number)}.json"
            with written(place) as file:
                file.write(json.dumps(batch).encode("ascii"))
            yield place


def make_folder(path: Path) -> None:
    """Makes the folder of batches if it is missing. Raises ExportError if it has some, or none can be made."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise ExportError(f"No folder can be made at {path}: {error.strerror or error}.") from error
    if any(path.glob("batch-*.json")):
        raise ExportError(f"{path} holds batches already, which would be uploaded with these; name another folder.")


def _feature(exported: ExportedRun, about: Neuronpedia, record: Record, evidence: str | None) -> Mapping[str, Any]:
    link = None if evidence is None else f"{evidence}#f{exported.address(record)}"
    collected = exported.collected(record)
    label = exported.label_of(record)
    projection = next((item for item in exported.evidence(record) if isinstance(item, Projection)), None)
    return {
        "index": record.label.feature,
        **_density(collected),
        **({} if projection is None else _logits(projection)),
        "explanations": [] if label is None else [_explanation(label, about, record, link)],
        "activations": [] if collected is None else _activations(collected),
    }


def _density(collected: FeatureExamples | None) -> Mapping[str, float]:
    activity = collected.activity if collected else None
    return {"density": activity.frequency} if activity and activity.n_tokens else {}


def _logits(projection: Projection) -> Mapping[str, Any]:
    return {"topLogits": _tokens(projection.top), "bottomLogits": _tokens(projection.bottom)}


def _tokens(tokens: Sequence[ScoredToken]) -> list[Mapping[str, Any]]:
    return [{"token": whole(token.token), "value": token.score} for token in tokens]


def _explanation(label: str, about: Neuronpedia, record: Record, link: str | None) -> Mapping[str, Any]:
    text = whole(label)
    return {
        "text": text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…",
        "methodName": about.method_name,
        "modelName": about.model_name,
        "scores": [_score(scored, record, link) for scored in record.scores if _is_of(scored, label)],
    }


def _is_of(scored: ExportedScore, label: str) -> bool:
    """Tests if a score is of this wording: a reviewer's own was not scored."""
    score = scored.score
    return score.variant == "label" and score.part == "held_out" and score.label == label and score.value is not None


def _score(scored: ExportedScore, record: Record, link: str | None) -> Mapping[str, Any]:
    score = scored.score
    told = {"metric": score.metric, "low": score.low, "high": score.high, "n": score.n}
    back = {"evidence": link, "rests_on": [*record.label.evidence]} if link else {}
    return {
        "value": score.value,
        "explanationScoreTypeName": f"sae-interpret_{score.scorer}",
        "explanationScoreModelName": scored.scoring.judge,
        "jsonDetails": json.dumps(told | back),
    }


def _activations(collected: FeatureExamples) -> list[Mapping[str, Any]]:
    """Returns the strongest activating examples, strongest first."""
    activating = [example for example in collected.examples if example.kind == "activating"]
    strongest = sorted(activating, key=lambda example: -example.peak)[:_TEXTS]
    return [_activation(example, collected.activity) for example in strongest]


def _activation(example: Example, activity: Activity | None) -> Mapping[str, Any]:
    shown = {"tokens": [whole(token) for token in example.tokens], "values": [*example.activations]}
    if activity is None or example.quantile is None or not activity.n_active:
        return shown
    low = activity.maximum * (_STRATA - 1 - example.quantile) / _STRATA
    high = activity.maximum * (_STRATA - example.quantile) / _STRATA
    middles = [(left + right) / 2 for left, right in pairwise(activity.edges)]
    inside = sum(n for middle, n in zip(middles, activity.counts, strict=True) if low < middle <= high)
    return {**shown, "quantileMin": low, "quantileMax": high, "quantileFraction": inside / activity.n_active}


def whole(text: str) -> str:
    """Returns `text` with U+FFFD for lone surrogates and NULs, which databases refuse."""
    return _NO_TEXT.sub("\ufffd", text)
