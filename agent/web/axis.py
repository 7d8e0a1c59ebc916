"""An axis for SVG: from values to places in a view box, with round figures at its ticks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class Tick:
    """A round value and its position."""

    at: float
    words: str


@dataclass(frozen=True)
class Axis:
    """From `low` at 0 to `high` at `length`, in the units of a view box."""

    low: float
    high: float
    length: float
    ticks: Sequence[Tick]

    def at(self, value: float) -> float:
        """Returns a value's place on the axis; beyond an end it is at that end."""
        return round(_place(value, self.low, self.high) * self.length, 1)

    def up(self, value: float) -> float:
        """Returns a value's place on a vertical axis, where a view box counts from its top."""
        return round(self.length - self.at(value), 1)


def axis_over(values: Iterable[float], length: float, most_ticks: int = 6) -> Axis:
    """Makes an axis that holds all values and ends at ticks."""
    found = [*values] or [0.0, 1.0]
    low, high = min(found), max(found)
    step = _step((high - low) or abs(high) or 1.0, most_ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ends = first * step, last * step
    marks = [n * step for n in range(first, last + 1)]
    return Axis(*ends, length, [Tick(round(_place(m, *ends) * length, 1), tick_words(m, digits)) for m in marks])


def tick_words(value: float, digits: int) -> str:
    """Formats a tick: `.25`, `0`, `-.1`, `1.5`."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        return "0"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def _step(span: float, most_ticks: int) -> float:
    """Returns the smallest step of 1, 2 or 5 times a power of ten that needs at most that many ticks."""
    rough = span / max(most_ticks - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(step for step in _STEPS if rough <= step * power * (1 + 1e-9))


def _place(value: float, low: float, high: float) -> float:
    return min(max((value - low) / (high - low), 0.0), 1.0)
