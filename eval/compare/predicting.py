"""Can a feature's best setting be told beforehand? A small model, cross-validated, against always saying the same.

Logistic regression on standardised columns, stratified folds (scikit-learn). Knows no log and no settings but by name.
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

from eval.compare.report import TIE, Measured, Values
from eval.metrics import Estimate, paired_difference, share
from probes.projection import project
from probes.settings import ProbeSettings
from probes.subject import Subject

FOLDS = 5
COLUMNS = ("decoder norm", "encoder norm", "cosine of encoder and decoder", "log frequency", "kurtosis of the logits")
"""What is known of a feature before it is probed. The layer is the same for all features of one SAE."""
_BATCH = 128


@dataclass(frozen=True)
class Prediction:
    """How well the best value of one setting is told beforehand."""

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


def predictions(
    values: Mapping[ProbeSettings, Measured],
    axes: Mapping[str, Mapping[str, Sequence[ProbeSettings]]],
    known: Mapping[int, Sequence[float]],
    measure: str,
    seed: int,
) -> list[Prediction]:
    """One for each axis; an axis is its values by name, each with the settings that have it."""
    library = _library()
    found = []
    for axis, groups in axes.items():
        by_value = {
            name: _averaged([values[setting].own[measure] for setting in mine]) for name, mine in groups.items()
        }
        found.append(_prediction(library, axis, by_value, known, seed))
    return found


def is_installed() -> bool:
    """Whether scikit-learn is here."""
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
    library: Any, axis: str, by_value: Mapping[str, Values], known: Mapping[int, Sequence[float]], seed: int
) -> Prediction:
    best = _best(by_value, known)
    counts = Counter(best.values())
    features = sorted(best)
    if len(counts) < 2 or min(counts.values()) < 2:
        none = Estimate(None, None, None, len(best), "one value is best on nearly every feature")
        return Prediction(axis, counts, none, none, none, none)
    told, usual = _out_of_fold(library, [known[f] for f in features], [best[f] for f in features], seed)
    right = [float(said == best[f]) for said, f in zip(told, features, strict=True)]
    by_majority = [float(said == best[f]) for said, f in zip(usual, features, strict=True)]
    single = max(by_value, key=lambda name: fmean(by_value[name][f] for f in features))
    return Prediction(
        axis=axis,
        n_best=counts,
        accuracy=share(int(sum(right)), len(right)),
        majority=share(int(sum(by_majority)), len(by_majority)),
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
    """What the model says of each feature that it was not trained on, and what the majority of the others would."""
    folds = min(FOLDS, min(Counter(truth).values()))
    splitter = library.StratifiedKFold(folds, shuffle=True, random_state=seed)
    model = library.make_pipeline(library.StandardScaler(), library.LogisticRegression(max_iter=1000))
    majority = library.DummyClassifier(strategy="most_frequent")
    columns = np.array(rows)
    told, usual = (library.cross_val_predict(m, columns, np.array(truth), cv=splitter) for m in (model, majority))
    return told.tolist(), usual.tolist()


def _best(by_value: Mapping[str, Values], known: Mapping[int, Sequence[float]]) -> dict[int, str]:
    """The value that is best on each feature that has all, those left out on which the first two are equal."""
    common = frozenset.intersection(frozenset(known), *(frozenset(values) for values in by_value.values()))
    found: dict[int, str] = {}
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
