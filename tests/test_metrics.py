"""Metrics against scikit-learn, scipy and plain loops; what is undefined; intervals that hold what they promise."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, sem, t
from sklearn import metrics as reference

from eval.metrics import (
    Estimate,
    Z,
    auroc,
    average_precision,
    balanced_accuracy,
    correlation,
    f1,
    mean,
    paired_difference,
    precision,
    proportion,
    recall,
)
from probes.proportion import Proportion

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)
SCORED = st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40)


def columns(pairs: Sequence[tuple[bool, float]]) -> tuple[list[bool], list[float]]:
    return [truth for truth, _ in pairs], [value for _, value in pairs]


def inside(found: Estimate) -> bool:
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    return 0 <= found.low <= found.value <= found.high <= 1


@given(PAIRS)
def test_classification_agrees_with_scikit_learn(pairs: list[tuple[bool, bool]]) -> None:
    truth, said = [t for t, _ in pairs], [s for _, s in pairs]
    for ours, theirs in ((f1, reference.f1_score), (precision, reference.precision_score)):
        found = ours(truth, said)
        if found.value is not None:
            assert found.value == pytest.approx(theirs(truth, said, zero_division=0))
    assert recall(truth, said).value == (None if not any(truth) else reference.recall_score(truth, said))
    found = balanced_accuracy(truth, said)
    if len({*truth}) == 2:
        assert found.value == pytest.approx(reference.balanced_accuracy_score(truth, said))
        assert inside(found)
        assert found.n == len(pairs)
    else:
        assert found.value is None


@given(SCORED)
def test_auroc_agrees_with_scikit_learn_ties_and_all(pairs: list[tuple[bool, float]]) -> None:
    truth, values = columns(pairs)
    found = auroc(truth, values)
    if len({*truth}) == 1:
        assert found.value is None
        return
    assert found.value == pytest.approx(reference.roc_auc_score(truth, values))
    assert inside(found)


@given(SCORED)
def test_average_precision_agrees_with_scikit_learn_ties_and_all(pairs: list[tuple[bool, float]]) -> None:
    truth, values = columns(pairs)
    found = average_precision(truth, values)
    if not any(truth):
        assert (found.value, found.reason) == (None, "none of them is true")
        return
    assert found.value == pytest.approx(reference.average_precision_score(truth, values))
    assert inside(found)


def test_auroc_counts_ties_half() -> None:
    assert auroc([True, False], [1, 1]).value == 0.5
    assert auroc([True, True, False], [2, 1, 1]).value == 0.75


@pytest.mark.parametrize(
    ("metric", "truth", "said", "reason"),
    [
        (balanced_accuracy, [True, True], [True, False], "all of them are true"),
        (balanced_accuracy, [False], [True], "none of them is true"),
        (balanced_accuracy, [], [], "none of them is true"),
        (auroc, [True], [0.5], "all of them are true"),
        (auroc, [], [], "none of them is true"),
        (recall, [False], [True], "none of them is true"),
        (precision, [True], [False], "none of them was said to be true"),
        (f1, [False], [True], "none of them is true"),
    ],
)
def test_what_is_undefined_has_a_reason_and_no_value(
    metric: Callable[[list[bool], list[bool]], Estimate], truth: list[bool], said: list[bool], reason: str
) -> None:
    found = metric(truth, said)
    assert (found.value, found.low, found.high, found.reason) == (None, None, None, reason)


def test_a_share_has_wilsons_interval() -> None:
    found = proportion(9, 10)
    assert (found.value, found.n) == (0.9, 10)
    assert (found.low, found.high) == Proportion(9, 10).interval
    assert proportion(0, 0).value is None


def test_f1_without_a_hit_is_zero_and_not_undefined() -> None:
    assert f1([True, False], [False, False]).value == 0


def test_perfect_scores_on_few_items_are_not_certain() -> None:
    sides = [True] * 10 + [False] * 10
    both = balanced_accuracy(sides, sides)
    assert (both.value, both.high) == (1, 1)
    assert both.low == pytest.approx(1 - (1 - Proportion(10, 10).interval[0]) / 2**0.5)
    area = auroc(sides, [float(side) for side in sides])
    assert area.value == 1
    assert area.low is not None
    assert 0.7 < area.low < 0.95
    mirrored = auroc([not side for side in sides], [float(side) for side in sides])
    assert (mirrored.low, mirrored.high) == pytest.approx((0, 1 - area.low))


def test_the_bounds_of_auroc_are_where_the_estimate_is_just_compatible() -> None:
    truth, values = columns([(True, 3), (True, 2), (True, 0.5), (False, 1), (False, 0), (False, -1), (False, 2.5)])
    found = auroc(truth, values)
    assert found.value is not None
    m, n = 3, 4
    for bound in (found.low, found.high):
        assert bound is not None
        q1, q2 = bound / (2 - bound), 2 * bound**2 / (1 + bound)
        star = (m + n) / 2 - 1
        variance = (bound * (1 - bound) + star * (q1 - bound**2) + star * (q2 - bound**2)) / (m * n)
        assert abs(found.value - bound) == pytest.approx(Z * variance**0.5)


@pytest.mark.parametrize(
    ("metric", "draw", "true_value"),
    [
        (balanced_accuracy, lambda rng, t: rng.random(len(t)) < np.where(t, 0.9, 0.25), (0.9 + 0.75) / 2),
        (auroc, lambda rng, t: rng.normal(size=len(t)) + np.where(t, 2**0.5, 0), 0.8413),
    ],
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(
    metric: Callable[..., Estimate], draw: Callable[..., np.ndarray], true_value: float
) -> None:
    rng = np.random.default_rng(0)
    truth = np.array([True] * 20 + [False] * 20)
    found = [metric(truth.tolist(), draw(rng, truth).tolist()) for _ in range(400)]
    held = np.mean([e.low is not None and e.high is not None and e.low <= true_value <= e.high for e in found])
    assert 0.92 <= held <= 0.99


TRUTHS = [(0.0, 1.0, 2.0, 0.0), (3.0, 0.0), (0.0, 0.0, 5.0)]
GUESSES = [(0.0, 2.0, 1.0, 1.0), (4.0, 0.0), (1.0, 0.0, 3.0)]


def test_correlation_is_pearsons_over_all_places() -> None:
    found = correlation(TRUTHS, GUESSES, seed=0)
    assert found.value == pytest.approx(pearsonr(np.concatenate(TRUTHS), np.concatenate(GUESSES)).statistic)
    assert found.n == 3
    moved = correlation([tuple(1e6 + 10 * v for v in text) for text in TRUTHS], GUESSES, seed=0)
    assert moved.value == pytest.approx(found.value)


def test_correlation_is_resampled_by_texts() -> None:
    rng = np.random.default_rng(1)
    truths = [tuple(rng.random(5)) for _ in range(6)]
    guesses = [tuple(t + rng.normal(scale=0.2) for t in text) for text in truths]  # one error for all of a text
    found = correlation(truths, guesses, seed=3)
    draws = np.random.default_rng(3)
    plain = []
    for _ in range(2000):
        picked = draws.integers(6, size=6)
        chosen = [np.concatenate([source[text] for text in picked]) for source in (truths, guesses)]
        plain.append(np.corrcoef(*chosen)[0, 1])
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(plain, [2.5, 97.5])))


@pytest.mark.parametrize(
    ("truths", "guesses", "reason"),
    [
        ([(1.0, 1.0)], [(0.0, 2.0)], "the true values do not vary"),
        ([(1.0, 0.0)], [(2.0, 2.0)], "the predictions do not vary"),
        ([], [], "the true values do not vary"),
    ],
)
def test_correlation_needs_variance(
    truths: list[tuple[float, ...]], guesses: list[tuple[float, ...]], reason: str
) -> None:
    found = correlation(truths, guesses, seed=0)
    assert (found.value, found.reason) == (None, reason)


def test_correlation_of_one_text_has_no_interval() -> None:
    found = correlation(TRUTHS[:1], GUESSES[:1], seed=0)
    assert found.value is not None
    assert (found.low, found.high, found.n) == (None, None, 1)


def test_correlation_has_no_interval_where_many_resamples_do_not_vary() -> None:
    found = correlation([(0.0, 1.0), (0.0, 0.0)], [(0.0, 3.0), (0.0, 0.0)], seed=0)
    assert (found.value, found.low, found.high) == (pytest.approx(1), None, None)


def test_a_mean_counts_measured_features_only() -> None:
    found = mean([0.5, None, 0.7, 0.9, None], seed=0)
    assert (found.value, found.n) == (pytest.approx(0.7), 3)
    assert (found.low, found.high) == pytest.approx(t.interval(0.95, 2, 0.7, sem([0.5, 0.7, 0.9])))
    with_zero = mean([0.0, 1.0, None], seed=0)
    assert (with_zero.value, with_zero.n) == (0.5, 2)  # 0 was measured
    assert mean([0.5], seed=0) == Estimate(0.5, None, None, 1)
    assert mean([None], seed=0).value is None


@pytest.mark.parametrize("n", [5, 10, 20])
def test_the_interval_of_a_mean_of_few_features_holds_the_truth(n: int) -> None:
    draws = np.random.default_rng(0).beta(8, 2, size=(600, n)) - np.random.default_rng(1).beta(4, 4, size=(600, n))
    found = [mean(values.tolist(), seed=0) for values in draws]
    held = np.mean([e.low is not None and e.high is not None and e.low <= 0.3 <= e.high for e in found])
    assert 0.92 <= held <= 0.98


@pytest.mark.parametrize("n", [2, 6, 60])
def test_values_that_do_not_vary_have_no_interval(n: int) -> None:
    assert mean([0.5] * n, seed=0) == Estimate(0.5, None, None, n)


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    values = np.random.default_rng(0).normal(size=400)
    found = mean(values.tolist(), seed=1)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * Z * values.std() / 20, rel=0.1)


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    features = rng.random(50)  # very different features, each about .1 above its control
    above = features + 0.1 + rng.uniform(-0.01, 0.01, size=50)
    found = paired_difference(above.tolist(), [*features[:-1].tolist(), None], seed=0)
    assert (found.value, found.n) == (pytest.approx(0.1, abs=0.005), 49)
    assert (found.low, found.high) == (pytest.approx(0.1, abs=0.005), pytest.approx(0.1, abs=0.005))
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0], seed=0)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(60).tolist()
    assert mean(values, seed=1) == mean(values, seed=1)
    assert mean(values, seed=1) != mean(values, seed=2)
