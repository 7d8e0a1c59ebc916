"""A joint p-value: it holds for p-values that know nothing of each other and for those that say the same."""

import numpy as np
import pytest
from scipy.stats import norm

from probes.joint_test import combined

N = 5000
BOUND = 0.065
"""Of 5,000 tests that hold at .05, more than .065 pass with probability 1e-6."""


def normal_p_values(k: int, correlation: float) -> np.ndarray:
    """N rows of k p-values of nothing, whose statistics are normal and so correlated."""
    random = np.random.default_rng(0)
    shared, own = random.standard_normal((N, 1)), random.standard_normal((N, k))
    return np.asarray(norm.sf(correlation**0.5 * shared + (1 - correlation) ** 0.5 * own))


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.95])
def test_it_holds_however_the_sides_hang_together(k: int, correlation: float) -> None:
    joint = np.array([combined(row) for row in normal_p_values(k, correlation).tolist()])
    assert 0.03 < (joint <= 0.05).mean() < BOUND
    assert (joint <= 0.01).mean() < 0.017


def test_it_holds_for_the_coarse_p_values_of_99_directions() -> None:
    coarse = np.ceil(normal_p_values(3, 0.3) * 100) / 100
    joint = np.array([combined(row) for row in coarse.tolist()])
    assert (joint <= 0.05).mean() < BOUND
    assert joint.max() <= 1


def test_sides_that_agree_are_stronger_than_one_of_them() -> None:
    assert combined([0.04, 0.04, 0.04]) < combined([0.04, 0.5, 0.5])
    assert combined([0.01, 0.01]) < 0.012
    assert combined([0.01, 1.0]) < 0.03  # a side that says nothing does not silence one that speaks
    assert combined([0.02, 0.3, 0.6]) == combined([0.6, 0.02, 0.3])


def test_one_p_value_stays_as_it_is_and_none_is_refused() -> None:
    assert combined([0.07]) == pytest.approx(0.07)
    with pytest.raises(ValueError, match="at least one"):
        combined([])
