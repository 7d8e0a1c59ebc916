"""A map fitted to labels that are known to be right or wrong, chosen among several by cross-validated log loss.

Chosen is the simplest map whose mean loss is within one standard error of the least (L. Breiman and others, 1984): of
few labels the best of several maps is often the best by chance.

Logistic regression and isotonic regression are scikit-learn's. What a map is worth is told out of fold by the whole
procedure, its choice included: in each fold the map is chosen and fitted on the others alone.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from jaxtyping import Float

from eval.calibration.columns import STATED
from eval.calibration.folds import folds
from eval.calibration.maps import Isotonic, Logistic, Term
from probes.errors import SettingsError

Array = np.ndarray
Fit = Callable[["CalibrationTable"], Logistic | Isotonic]


@dataclass(frozen=True)
class CalibrationTable:
    """Labels that are known to be right or wrong, with what is known of them beforehand."""

    names: tuple[str, ...]
    """Of the columns."""
    values: Float[Array, "n columns"]
    truth: tuple[bool, ...]
    groups: tuple[str, ...]
    """Labels of one group are of one concept, or the same words."""

    def __len__(self) -> int:
        return len(self.truth)

    def column(self, name: str) -> Float[Array, " n"]:
        """One of the columns."""
        return self.values[:, self.names.index(name)]

    def rows(self, places: Sequence[int]) -> "CalibrationTable":
        """Some of the labels."""
        truth = tuple(self.truth[place] for place in places)
        return CalibrationTable(
            self.names, self.values[[*places]], truth, tuple(self.groups[place] for place in places)
        )


@dataclass(frozen=True)
class CalibrationFit:
    """The map that was chosen, and what the choice and the map are worth out of fold."""

    map: Logistic | Isotonic
    chosen: str
    """Its name among the candidates."""
    losses: Mapping[str, Sequence[float]]
    """By candidate: the log loss of each label, out of fold."""
    probabilities: Sequence[float]
    """Of each label, by a map chosen and fitted without its fold."""
    folds: Sequence[int]
    """Of each label."""
    chosen_in: Sequence[str]
    """By fold: what was chosen without it."""


def check_installed() -> None:
    """Raises SettingsError where scikit-learn is not there."""
    if find_spec("sklearn") is None:
        raise SettingsError(
            "interpret calibrate needs the package scikit-learn, which is not installed; install "
            "sae-interpret[calibrate]."
        )


def candidates(names: Sequence[str]) -> dict[str, Fit]:
    """The maps that these columns allow, the simplest first."""
    found: dict[str, Fit] = {"base rate": lambda table: logistic(table, ())}
    if STATED in names:
        found["logistic, stated confidence"] = lambda table: logistic(table, (STATED,))
        found["isotonic, stated confidence"] = lambda table: isotonic(table, STATED)
    if {*names} - {STATED}:
        found["logistic, all columns"] = lambda table: logistic(table, table.names)
    return found


def fit(table: CalibrationTable, seed: int) -> CalibrationFit:
    """The best map on all labels, and out of fold what the same procedure makes of each."""
    split = folds(table.groups, table.truth, seed)
    losses = _losses(table, split)
    chosen = simplest_good(losses, table.groups)
    probabilities = np.empty(len(table))
    chosen_in = []
    for fold in sorted({*split}):
        train, test = _parts(split, fold)
        others = table.rows(train)
        inner = simplest_good(_losses(others, folds(others.groups, others.truth, seed)), others.groups)
        probabilities[test] = predicted(candidates(table.names)[inner](others), table.rows(test))
        chosen_in.append(inner)
    return CalibrationFit(
        map=candidates(table.names)[chosen](table),
        chosen=chosen,
        losses={name: found.tolist() for name, found in losses.items()},
        probabilities=probabilities.tolist(),
        folds=split,
        chosen_in=chosen_in,
    )


def logistic(table: CalibrationTable, names: Sequence[str]) -> Logistic:
    """Logistic regression on standardised columns; of columns that vary, and of none where all labels are alike."""
    columns = {name: table.column(name) for name in names}
    varying = {name: column for name, column in columns.items() if np.ptp(column) > 0}
    if not varying or len({*table.truth}) < 2:
        return Logistic(intercept=_base_rate(table.truth))
    means, scales = ([f(column) for column in varying.values()] for f in (np.mean, np.std))
    standardised = (np.stack([*varying.values()], axis=1) - means) / scales
    model = import_module("sklearn.linear_model").LogisticRegression().fit(standardised, table.truth)
    terms = zip(varying, means, scales, model.coef_[0], strict=True)
    return Logistic(
        intercept=float(model.intercept_[0]),
        least=_margin(table),
        terms=tuple(Term(column=n, mean=float(m), scale=float(s), weight=float(w)) for n, m, s, w in terms),
    )


def isotonic(table: CalibrationTable, name: str) -> Isotonic:
    """Isotonic regression, kept from 0 and 1."""
    least = _margin(table)
    model = import_module("sklearn.isotonic").IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
    model.fit(table.column(name), np.array(table.truth, dtype=np.float64))
    return Isotonic(column=name, xs=tuple(model.X_thresholds_.tolist()), ys=tuple(model.y_thresholds_.tolist()))


def predicted(found: Logistic | Isotonic, table: CalibrationTable) -> Float[Array, " n"]:
    """Returns the probability that a map gives each label."""
    rows = (dict(zip(table.names, map(float, row), strict=True)) for row in table.values)
    return np.array([found.probability(row) for row in rows], dtype=np.float64)


def log_losses(truth: Sequence[bool], probabilities: Float[Array, " n"]) -> Float[Array, " n"]:
    """Of each label: minus the log of the probability of what is the case, in nats."""
    losses: Array = -np.log(np.where(np.asarray(truth), probabilities, 1 - probabilities))
    return losses


def simplest_good(losses: Mapping[str, Float[Array, " n"]], groups: Sequence[str]) -> str:
    """The first candidate whose mean loss exceeds the least by no more than one standard error of that difference."""
    best = min(losses.values(), key=lambda found: float(found.mean()))
    return next(
        name for name, found in losses.items() if (found - best).mean() <= _standard_error(found - best, groups)
    )


def _losses(table: CalibrationTable, split: Sequence[int]) -> dict[str, Float[Array, " n"]]:
    """Of each candidate, the log loss of each label by a map that was fitted without its fold."""
    losses = {name: np.empty(len(table)) for name in candidates(table.names)}
    for fold in sorted({*split}):
        train, test = _parts(split, fold)
        others, mine = table.rows(train), table.rows(test)
        for name, make in candidates(table.names).items():
            losses[name][test] = log_losses(mine.truth, predicted(make(others), mine))
    return losses


def _standard_error(differences: Float[Array, " n"], groups: Sequence[str]) -> float:
    """Of their mean, groups taken as what was drawn."""
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.bincount(place, weights=differences - differences.mean())
    return float(np.sqrt(sums @ sums) / len(differences))


def _parts(split: Sequence[int], fold: int) -> tuple[list[int], list[int]]:
    """The places of all labels but those of a fold, and of these."""
    return [p for p, of in enumerate(split) if of != fold], [p for p, of in enumerate(split) if of == fold]


def _margin(table: CalibrationTable) -> float:
    """Returns the distance that a probability keeps from 0 and 1 (Laplace's rule: n labels alike make no other one
    sure).
    """
    return 1 / (len(table) + 2)


def _base_rate(truth: Sequence[bool]) -> float:
    """Its logit, by Laplace's rule: one more of each kind is counted than there is."""
    return math.log((sum(truth) + 1) / (len(truth) - sum(truth) + 1))
