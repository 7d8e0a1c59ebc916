"""One p-value of several: does any side of a feature say more than random directions do?"""

import math
from collections.abc import Sequence
from statistics import harmonic_mean

from scipy.stats import landau


def combined(p_values: Sequence[float]) -> float:
    """The harmonic mean p-value, made exact for independent ones by its limit, a Landau distribution.

    Holds where p-values hang together, as those of the sides of one feature do, and is not silenced by a single large
    one, as the Cauchy combination is. D. J. Wilson, "The harmonic mean p-value for combining dependent tests", PNAS
    116:1195 (2019), equation 4. One p-value stays as it is; 0 is none, and an empty sequence is refused
    (StatisticsError, a ValueError).
    """
    mean = harmonic_mean(p_values)
    if len(p_values) == 1:
        return mean
    location = math.log(len(p_values)) + 1 - _EULER + math.log(math.pi / 2)
    return float(landau.sf(1 / mean, loc=location, scale=math.pi / 2))


_EULER = 0.5772156649015329
"""Euler's constant."""
