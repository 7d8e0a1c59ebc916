"""Maps from what is known of a label to the probability that it is right: plain numbers, applied without a library.

They are kept in the log as JSON. How they are fitted lies in `eval.calibration.fitting`.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from agent.errors import LogError
from probes.settings import Value

Known = Mapping[str, float | None]
_LARGEST_LOGIT = 30.0


class Term(Value):
    """A column of a logistic map: it counts by its weight once its mean is taken off and it is divided by its scale."""

    column: str
    mean: float
    scale: float = Field(gt=0)
    weight: float


class Logistic(Value):
    """A logistic regression, kept from 0 and 1; without a term it says the same of every label."""

    method: Literal["logistic"] = "logistic"
    intercept: float
    least: float = Field(default=0.0, ge=0, lt=0.5)
    """What it says is no nearer to 0 or 1."""
    terms: tuple[Term, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Returns the columns that it needs."""
        return tuple(term.column for term in self.terms)

    def probability(self, known: Known) -> float | None:
        """None where something that it needs is not known."""
        logit = self.intercept
        for term in self.terms:
            value = known.get(term.column)
            if value is None:
                return None
            logit += term.weight * (value - term.mean) / term.scale
        probability = 1 / (1 + math.exp(-min(max(logit, -_LARGEST_LOGIT), _LARGEST_LOGIT)))
        return min(max(probability, self.least), 1 - self.least)


class Isotonic(Value):
    """A rising line through knots in one column, level beyond the first and the last."""

    method: Literal["isotonic"] = "isotonic"
    column: str
    xs: tuple[float, ...] = Field(min_length=1)
    ys: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        rising = all(list(values) == sorted(values) for values in (self.xs, self.ys))
        if len(self.xs) != len(self.ys) or not rising or len({*self.xs}) < len(self.xs):
            raise ValueError("knots of an isotonic map rise, each with one value")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Returns the columns that it needs."""
        return (self.column,)

    def probability(self, known: Known) -> float | None:
        """None where its column is not known."""
        value = known.get(self.column)
        return None if value is None else _between(value, self.xs, self.ys)


Map = Logistic | Isotonic
_ANY: TypeAdapter[Logistic | Isotonic] = TypeAdapter(Map)


def map_of(stored: Mapping[str, object]) -> Logistic | Isotonic:
    """A map as the log has it. Raises LogError."""
    try:
        return _ANY.validate_python(stored)
    except ValidationError:
        raise LogError("A calibration of the log is damaged; interpret calibrate makes another.") from None


def _between(value: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    right = bisect_right(xs, value)
    if right == 0 or right == len(xs):
        return ys[min(right, len(xs) - 1)]
    share = (value - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])
