"""Grades evidence in words by its p-value against random directions."""

from typing import Literal

Grade = Literal["clear", "good", "fair", "weak", "none"]

_UP_TO: tuple[tuple[float, Grade], ...] = ((0.02, "clear"), (0.05, "good"), (0.1, "fair"), (0.3, "weak"))
"""The largest p-value of each grade; beyond them all there is none."""


def grade(p_value: float) -> Grade:
    """Returns the grade of a p-value."""
    return next((name for most, name in _UP_TO if p_value <= most + 1e-9), "none")
