"""Can a feature's best setting be told beforehand? A small model, cross-validated, against always saying the same.

Logistic regression on standardised columns, stratified folds (scikit-learn).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from eval.compare.report import TIE, SettingMeasures, Values
from eval.metrics import Estimate, paired_difference, proportion
from probes.projection import project
from probes.settings import ProbeSettings
from probes.subject import Subject

FOLDS = 5
COLUMNS = ("decoder norm", "encoder norm", "cosine of encoder and decoder", "log frequency", "kurtosis of the logits")
"""What is known of a feature before it is probed, besides the layer, which is the same for all of one SAE."""
_BATCH = 128


Key = tuple[int, int]
"""The place of a feature's source, and the feature."""
Pooled = Mapping[Key, float]


@dataclass(frozen=True)
class PredictionSource:
    """The features of one SAE."""

    layer: int
    values: Mapping[ProbeSettings, SettingMeasures]
    axes: Mapping[str, Mapping[str, Sequence[ProbeSettings]]]
    """Along which the settings vary: the values of each by name, with the settings that have them."""
    known: Mapping[int, Sequence[float]]
    """`COLUMNS` by feature."""


@dataclass(frozen=True)
class Prediction:
    """The accuracy with which the best value of one setting is predicted."""

    axis: str
    n_best: Mapping[str, int]
    """On how many features each value is best; ties are left out."""
    accuracy: Estimate
    """Out of fold; None with the reason where it could not be tried."""
    majority: Estimate
    """Of always saying what is most frequent in the other folds."""
    ahead: Estimate
    """Accuracy of the model less that of the majority, features paired."""
    gain: Estimate
    """What the predicted value's fit is better than that of the one value best on average, features paired."""


@torch.inference_mode()
def known_beforehand(
    subject: Subject, features: Sequence[int], frequencies: Mapping[int, float | None]
) -> dict[int, list[float]]:
    """`COLUMNS` of each feature that has all of them."""
    found: dict[int, list[float]] = {}
    for start in range(0, len(features), _BATCH):
        some = features[start : start + _BATCH]
        encoder, decoder = subject.encoder_rows(some), subject.decoder_rows(some)
        cosines = torch.nn.functional.cosine_similarity(encoder, decoder, dim=1)
        columns = (decoder.norm(dim=1), encoder.norm(dim=1), cosines, _kurtosis(project(subject, decoder)))
        for feature, *row in zip(some, *(column.tolist() for column in columns), strict=True):
            frequency = frequencies.get(feature)
            if frequency and decoder.isfinite().all():
                found[feature] = [*row[:3], float(np.log10(frequency)), row[3]]
    return found


def predictions(sources: Sequence[PredictionSource], measure: str, seed: int) -> list[Prediction]:
    """One for each axis that all of the sources vary, over the values that all of them have.

    Features of different SAEs are told apart by the layer as well, where there are several.
    """
    library = _library()
    known = _pooled_columns(sources)
    found = []
    for axis, groups in sources[0].axes.items():
        common = [name for name in groups if all(name in source.axes.get(axis, {}) for source in sources)]
        if len(common) > 1:
            by_value = {name: _pooled(sources, axis, name, measure) for name in common}
            found.append(_prediction(library, axis, by_value, known, seed))
    return found


def columns_of(sources: Sequence[PredictionSource]) -> tuple[str, ...]:
    """Returns the known facts of each feature, as columns."""
    return (*COLUMNS, "layer") if len({source.layer for source in sources}) > 1 else COLUMNS


def _pooled_columns(sources: Sequence[PredictionSource]) -> dict[Key, list[float]]:
    layered = "layer" in columns_of(sources)
    return {
        (place, feature): [*row, float(source.layer)] if layered else [*row]
        for place, source in enumerate(sources)
        for feature, row in source.known.items()
    }


def _pooled(sources: Sequence[PredictionSource], axis: str, name: str, measure: str) -> dict[Key, float]:
    """Returns the features' values of all sources under one value of an axis."""
    return {
        (place, feature): value
        for place, source in enumerate(sources)
        for feature, value in _averaged([source.values[s].own[measure] for s in source.axes[axis][name]]).items()
    }


def is_installed() -> bool:
    """Tells whether scikit-learn is installed."""
    return find_spec("sklearn") is not None


def _library() -> Any:
    """The few names of scikit-learn that are used."""
    places = {
        "DummyClassifier": "sklearn.dummy",
        "LogisticRegression": "sklearn.linear_model",
        "StandardScaler": "sklearn.preprocessing",
        "make_pipeline": "sklearn.pipeline",
        "StratifiedKFold": "sklearn.model_selection",
        "cross_val_predict": "sklearn.model_selection",
    }
    return SimpleNamespace(**{name: getattr(import_module(place), name) for name, place in places.items()})


def _prediction(
    library: Any, axis: str, by_value: Mapping[str, Pooled], known: Mapping[Key, Sequence[float]], seed: int
) -> Prediction:
    found = _best(by_value, known)
    counts = Counter(found.values())
    best = {feature: name for feature, name in found.items() if counts[name] > 1}  # one alone cannot be learned from
    features = sorted(best)
    if len({*best.values()}) < 2:
        why = "one value is best on nearly every feature" if found else "no value is better than another on any feature"
        none = Estimate(None, None, None, len(found), why)
        return Prediction(axis, counts, none, none, none, none)
    told, usual = _out_of_fold(library, [known[f] for f in features], [best[f] for f in features], seed)
    right = [float(said == best[f]) for said, f in zip(told, features, strict=True)]
    by_majority = [float(said == best[f]) for said, f in zip(usual, features, strict=True)]
    single = max(by_value, key=lambda name: fmean(by_value[name][f] for f in features))
    return Prediction(
        axis=axis,
        n_best=counts,
        accuracy=proportion(int(sum(right)), len(right)),
        majority=proportion(int(sum(by_majority)), len(by_majority)),
        ahead=paired_difference(right, by_majority, seed),
        gain=paired_difference(
            [by_value[said][f] for said, f in zip(told, features, strict=True)],
            [by_value[single][f] for f in features],
            seed,
        ),
    )


def _out_of_fold(
    library: Any, rows: Sequence[Sequence[float]], truth: Sequence[str], seed: int
) -> tuple[list[str], list[str]]:
    """Returns the model's prediction for each feature that it was not trained on, and the majority's for comparison."""
    folds = min(FOLDS, min(Counter(truth).values()))
    splitter = library.StratifiedKFold(folds, shuffle=True, random_state=seed)
    model = library.make_pipeline(library.StandardScaler(), library.LogisticRegression(max_iter=1000))
    majority = library.DummyClassifier(strategy="most_frequent")
    columns = np.array(rows)
    told, usual = (library.cross_val_predict(m, columns, np.array(truth), cv=splitter) for m in (model, majority))
    return told.tolist(), usual.tolist()


def _best(by_value: Mapping[str, Pooled], known: Mapping[Key, Sequence[float]]) -> dict[Key, str]:
    """The value that is best on each feature that has all, those left out on which the first two are equal."""
    common = frozenset.intersection(frozenset(known), *(frozenset(values) for values in by_value.values()))
    found: dict[Key, str] = {}
    for feature in common:
        ranked = sorted(by_value, key=lambda name: -by_value[name][feature])
        if by_value[ranked[0]][feature] - by_value[ranked[1]][feature] > TIE:
            found[feature] = ranked[0]
    return found


def _averaged(several: Sequence[Values]) -> dict[int, float]:
    """The mean over settings, of features that have a value under every one."""
    common = frozenset.intersection(*(frozenset(values) for values in several))
    return {feature: fmean(values[feature] for values in several) for feature in common}


def _kurtosis(logits: Float[torch.Tensor, "n vocab"]) -> Float[torch.Tensor, " n"]:
    """Fourth moment over the squared second, less 3: 0 for a normal distribution."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    second = centred.square().mean(dim=1).clamp(min=1e-30)
    return centred.pow(4).mean(dim=1) / second.square() - 3
