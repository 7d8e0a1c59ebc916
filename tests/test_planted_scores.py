"""The scorers' plumbing on a planted perfect SAE: log, scorers, a real SDK, a server that answers by rule, report."""

import pytest

from eval.metrics import Estimate
from tests.planted_scores import CHANCE, LABELS, NAMES, Scored, scored_by_rule


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Scored:
    return scored_by_rule(tmp_path_factory.mktemp("planted"))


def ends(mean: Estimate) -> tuple[float, float]:
    """Of its interval; the value itself where it is the same for every feature."""
    assert mean.value is not None
    return (mean.value, mean.value) if mean.low is None or mean.high is None else (mean.low, mean.high)


def test_every_scorer_has_a_mean_for_all_labels(found: Scored) -> None:
    assert found.means.keys() == {(name, words) for name in NAMES for words in LABELS.values()}
    assert {mean.n for mean in found.means.values()} == {6}


@pytest.mark.parametrize("name", NAMES)
def test_true_labels_are_near_perfect_shuffled_ones_at_chance_and_half_right_ones_between(
    name: str, found: Scored
) -> None:
    true, half, shuffled = (found.means[name, words] for words in ("true", "half right", "shuffled"))
    assert true.value is not None
    assert half.value is not None
    assert shuffled.value is not None
    assert true.value > 0.97
    assert half.value == pytest.approx((1 + CHANCE[name]) / 2, abs=0.15)
    assert CHANCE[name] - 0.25 < shuffled.value < CHANCE[name] + 0.1
    assert ends(shuffled)[1] < ends(half)[0]
    assert ends(half)[1] < true.value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("words", ["one shot", "top tokens"])
def test_controls_that_hit_on_the_truth_are_near_perfect_too(name: str, words: str, found: Scored) -> None:
    mean = found.means[name, words]
    assert mean.value is not None
    assert mean.value > 0.97
