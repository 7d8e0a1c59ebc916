"""Fitting an adapter: scale and bias such that the model writes a feature's label when asked about its vector.

Cross-entropy of the label's tokens after the base prompt, Adam, early stopping, as in arXiv 2602.10352. The gradient
reaches the d_model + 1 numbers and nothing else: the model is frozen.
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.errors import SettingsError
from probes.ghost.adapter import FitSettings
from probes.ghost.label_loss import LabelLoss, LabelPair
from probes.subject import Subject

MIN_FEATURES = 10
"""To fit on, those that say when to stop included."""
VALIDATION_SHARE = 0.2
"""Of the labels that are not held out."""
CHECK_EVERY = 5
"""Steps between two looks at the validation part."""


@dataclass(frozen=True)
class Parts:
    """Pairs to fit on, to stop by, and to judge by; no label is in two of them."""

    train: Sequence[LabelPair]
    validation: Sequence[LabelPair]
    held_out: Sequence[LabelPair]


@dataclass(frozen=True)
class Losses:
    """Mean nats per learned token of each pair, with the unfitted vector and with the fitted one."""

    start: Sequence[float]
    end: Sequence[float]


@dataclass(frozen=True, eq=False)
class AdapterPoint:
    """The numbers that are fitted."""

    scale: Float[Tensor, ""]
    bias: Float[Tensor, " d_model"]


@dataclass(frozen=True, eq=False)
class AdapterFit:
    """A fitted adapter with its losses."""

    scale: float
    bias: Float[Tensor, " d_model"]
    steps: int
    """After which the loss on the validation part was least; 0 where no step made it less."""
    train: Losses
    validation: Losses
    held_out: Losses


def split(pairs: Sequence[LabelPair], hold_out: float, seed: int) -> Parts:
    """Parts by label, whatever its case and spacing, so that what is learned of a label never helps on another part.

    `hold_out` is a share of labels, not of features. Raises SettingsError where too little is left to fit on.
    """
    groups: dict[str, list[LabelPair]] = defaultdict(list)
    for pair in pairs:
        groups[" ".join(pair.label.lower().split())].append(pair)
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    n_out = round(hold_out * len(names))
    n_validation = max(1, round(VALIDATION_SHARE * (len(names) - n_out)))
    bounds = ((0, n_out), (n_out, n_out + n_validation), (n_out + n_validation, len(names)))
    held_out, validation, train = ([pair for name in names[a:b] for pair in groups[name]] for a, b in bounds)
    n = len(train) + len(validation)
    if n < MIN_FEATURES or not train:
        raise SettingsError(
            f"{n} features with {len(names) - n_out} labels are too few to fit an adapter on ({len(held_out)} more are "
            f"held out); at least {MIN_FEATURES} features with two different labels are needed."
        )
    return Parts(train, validation, held_out)


def fit(
    subject: Subject, parts: Parts, settings: FitSettings, tell: Callable[[int], object] = lambda _: None
) -> AdapterFit:
    """The numbers with the least loss on the validation part, from those of the unfitted vector on.

    `tell` hears of steps as they are done. Equal calls give equal numbers on a CPU. Raises SettingsError where a
    feature has no direction or the loss is no number.
    """
    loss = LabelLoss(subject, settings)
    train, validation, held_out = (loss.rows(part) for part in (parts.train, parts.validation, parts.held_out))
    begin = AdapterPoint(
        torch.tensor(subject.card.default_scale, device=subject.centroid.device), subject.centroid.clone()
    )
    best, best_nats, best_step = begin, _mean(loss.each(validation, begin.scale, begin.bias), 0), 0
    point = AdapterPoint(begin.scale.clone(), begin.bias.clone())
    optimiser = _optimiser(point, settings, subject.card.default_scale)
    batches = _batches(len(train), settings)
    for step in range(1, settings.steps + 1):
        nats = loss.of(train.at(next(batches).to(train.ids.device)), point.scale, point.bias).mean()
        _check(float(nats.detach()), step)
        optimiser.zero_grad()
        nats.backward()
        optimiser.step()
        tell(1)
        if step % CHECK_EVERY == 0 or step == settings.steps:
            reached = _mean(loss.each(validation, point.scale, point.bias), step)
            if reached < best_nats:
                best = AdapterPoint(point.scale.detach().clone(), point.bias.detach().clone())
                best_nats, best_step = reached, step
            elif step - best_step >= settings.patience:
                break
    losses = (
        Losses(loss.each(rows, begin.scale, begin.bias), loss.each(rows, best.scale, best.bias))
        for rows in (train, validation, held_out)
    )
    return AdapterFit(float(best.scale), best.bias, best_step, *losses)


def _optimiser(point: AdapterPoint, settings: FitSettings, ordinary: float) -> torch.optim.Optimizer:
    """Adam; its steps are a share of what is ordinary: for the scale a row's distance, for the bias an entry of it."""
    steps = {
        "scale": settings.learning_rate * ordinary,
        "bias": settings.learning_rate * ordinary / len(point.bias) ** 0.5,
    }
    learned = steps if settings.learn == "both" else {settings.learn: steps[settings.learn]}
    return torch.optim.Adam(
        [{"params": [getattr(point, name).requires_grad_()], "lr": rate} for name, rate in learned.items()]
    )


def _batches(n: int, settings: FitSettings) -> Iterator[Int[Tensor, " batch"]]:
    """Places of rows, every row once before any comes again, in a seeded order."""
    generator = torch.Generator().manual_seed(settings.seed)
    while True:
        yield from torch.randperm(n, generator=generator).split(settings.batch)


def _mean(nats: Sequence[float], step: int) -> float:
    found = sum(nats) / len(nats)
    _check(found, step)
    return found


def _check(nats: float, step: int) -> None:
    if not math.isfinite(nats):
        raise SettingsError(
            f"The loss is {nats} at step {step}, so nothing was fitted; labels in other words or fewer steps may help."
        )
