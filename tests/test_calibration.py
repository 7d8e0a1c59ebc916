"""Calibration: figures against plain references, maps against scikit-learn's own, and what must hold of any fit."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from agent.errors import LogError
from agent.log.calibrations import CalibrationRow
from eval.calibration.applying import calibration_for
from eval.calibration.columns import COLUMNS, LabelWithEvidence, values_of
from eval.calibration.figures import (
    StatedProbabilities,
    at_coverages,
    coverage_points,
    error_by_chance,
    even_bins,
    expected_calibration_error,
    measures,
    reliability,
)
from eval.calibration.fitting import (
    CalibrationTable,
    candidates,
    fit,
    isotonic,
    log_losses,
    logistic,
    predicted,
    simplest_good,
)
from eval.calibration.folds import folds
from eval.calibration.maps import Isotonic, Logistic, Term, map_of
from eval.calibration.report import MIN_GROUPS, _check
from probes.errors import SettingsError
from probes.evidence import TokenList
from tests.fakes import DOGS, tree
from tests.logged import SETTINGS, projection, tokens
from tests.test_agreement import contrasted
from tests.test_display import label

N = 1500


def table(confidence: Any, truth: Any, **more: Any) -> CalibrationTable:
    """Each label in a group of its own."""
    names = ("confidence", *more)
    values = np.stack([np.asarray(column, dtype=np.float64) for column in (confidence, *more.values())], axis=1)
    return CalibrationTable(names, values, tuple(map(bool, truth)), tuple(map(str, range(len(values)))))


def drawn(n: int = N, seed: int = 0) -> tuple[Any, Any]:
    """Probabilities, and truths that follow them."""
    dice = np.random.default_rng(seed)
    p = dice.uniform(0.02, 0.98, n)
    return p, dice.random(n) < p


def said(p: Any, truth: Any) -> StatedProbabilities:
    return StatedProbabilities([*map(float, p)], [*map(bool, truth)], [*map(str, range(len(p)))])


class TestFigures:
    def test_the_calibration_error_is_that_of_a_plain_loop(self) -> None:
        p, truth = drawn(200)
        bins: dict[int, list[float]] = {}
        for value, right in zip(p, truth, strict=True):
            bins.setdefault(min(int(value * 10), 9), []).append(right - value)
        plain = sum(abs(sum(gaps)) for gaps in bins.values()) / 200
        assert expected_calibration_error(said(p, truth)) == pytest.approx(plain, abs=1e-12)

    def test_brier_score_and_log_loss_are_those_of_a_plain_loop(self) -> None:
        p, truth = drawn(50)
        found = {one.name: one.after for one in measures(said(p, truth), said(p, truth), 0)}
        brier = sum((right - value) ** 2 for value, right in zip(p, truth, strict=True)) / 50
        loss = -sum(math.log(value if right else 1 - value) for value, right in zip(p, truth, strict=True)) / 50
        assert found["Brier score"].value == pytest.approx(brier)
        assert found["log loss"].value == pytest.approx(loss)

    def test_intervals_hold_their_figure_and_the_change_of_nothing_is_nothing(self) -> None:
        p, truth = drawn(100)
        for one in measures(said(p, truth), said(p, truth), 0)[:3]:
            assert one.after.low is not None
            assert one.after.high is not None
            assert one.after.low < (one.after.value or 0) < one.after.high
            assert (one.change.value, one.change.low, one.change.high, one.change.n) == (0, 0, 0, 100)

    def test_an_error_of_nothing_lies_in_its_interval(self) -> None:
        right_as_said = said([0.9] * 60, [True] * 54 + [False] * 6)
        error = measures(right_as_said, right_as_said, 0)[0].after
        assert error.value == pytest.approx(0)
        assert error.low is not None
        assert error.high is not None
        assert error.low <= (error.value or 0) < 0.02 < error.high < 0.1

    def test_labels_of_one_group_make_an_interval_no_narrower(self) -> None:
        p, truth = drawn(100)
        alone = said(p, truth)
        tenfold = StatedProbabilities([*alone.probabilities] * 10, [*alone.truth] * 10, [*alone.groups] * 10)
        one, ten = (measures(what, what, 0)[1].after for what in (alone, tenfold))
        assert (ten.low, ten.high) == pytest.approx((one.low, one.high))

    def test_perfect_probabilities_show_what_chance_gives(self) -> None:
        p, _ = drawn(100)
        errors = [
            expected_calibration_error(said(p, np.random.default_rng(seed).random(100) < p)) for seed in range(300)
        ]
        assert error_by_chance(said(p, p > 2), 0) == pytest.approx(np.mean(errors), abs=0.005)

    def test_bins_have_what_was_said_and_what_is_so(self) -> None:
        first, last = reliability(said([0.11, 0.19, 1.0], [True, False, True]))
        assert (first.low, first.said, first.right.value, first.right.n) == (0.1, pytest.approx(0.15), 0.5, 2)
        assert (last.high, last.right.value) == (1.0, 1.0)

    def test_bins_of_a_picture_have_ten_labels_at_least_and_part_no_equal_ones(self) -> None:
        p = [0.1] * 12 + [0.2] * 5 + [0.3] * 9 + [0.9] * 4
        found = even_bins(said(p, [True] * 30))
        assert [(one.low, one.high, one.right.n) for one in found] == [(0.1, 0.1, 12), (0.2, 0.9, 18)]
        assert sum(one.right.n for one in even_bins(said(p[:3], [True] * 3))) == 3

    def test_risk_is_that_of_the_labels_above_each_threshold(self) -> None:
        p, truth = [0.9, 0.9, 0.5, 0.1], [True, False, True, False]
        found = [(one.threshold, one.coverage, one.risk.value, one.risk.n) for one in coverage_points(said(p, truth))]
        assert found == [(0.9, 0.5, 0.5, 2), (0.5, 0.75, pytest.approx(1 / 3), 3), (0.1, 1.0, 0.5, 4)]
        reached = [(asked, one.coverage) for asked, one in at_coverages(coverage_points(said(p, truth)))]
        assert reached == [(0.25, 0.5), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0)]


class TestMaps:
    def test_a_logistic_map_says_what_scikit_learn_says(self) -> None:
        p, truth = drawn(120)
        more = np.random.default_rng(1).normal(5, 2, 120)
        found = table(p, truth, first_z=more)
        standardised = (found.values - found.values.mean(axis=0)) / found.values.std(axis=0)
        theirs = LogisticRegression().fit(standardised, truth).predict_proba(standardised)[:, 1]
        kept = np.clip(theirs, 1 / 122, 121 / 122)
        assert predicted(logistic(found, found.names), found) == pytest.approx(kept, abs=1e-12)

    def test_an_isotonic_map_says_what_scikit_learn_says_also_beyond_its_knots(self) -> None:
        p, truth = drawn(80)
        model = IsotonicRegression(y_min=1 / 82, y_max=81 / 82, out_of_bounds="clip").fit(p, truth)
        found, grid = isotonic(table(p, truth), "confidence"), np.linspace(-0.5, 1.5, 401)
        ours = [found.probability({"confidence": float(x)}) for x in grid]
        assert ours == pytest.approx(model.predict(grid), abs=1e-12)
        assert ours == sorted(ours)

    def test_no_map_is_sure(self) -> None:
        apart = table(np.linspace(0, 1, 20), [False] * 10 + [True] * 10)
        for found in (isotonic(apart, "confidence"), logistic(apart, ("confidence",))):
            ends = [found.probability({"confidence": x}) for x in (-100.0, 100.0)]
            assert ends == [pytest.approx(1 / 22), pytest.approx(21 / 22)]

    def test_without_a_column_that_varies_all_labels_are_given_the_base_rate(self) -> None:
        found = logistic(table([0.5] * 8, [True] * 7 + [False]), ("confidence",))
        assert found.columns == ()
        assert found.probability({}) == pytest.approx(8 / 10)

    @pytest.mark.parametrize("method", [logistic, isotonic])
    def test_maps_are_the_same_after_a_round_trip_through_json(self, method: Any) -> None:
        found = method(table(*drawn(60)), "confidence" if method is isotonic else ("confidence",))
        assert map_of(found.model_dump(mode="json")) == found

    def test_what_a_map_needs_must_be_known(self) -> None:
        found = Logistic(intercept=0.0, terms=(Term(column="list_p", mean=0, scale=1, weight=1),))
        assert found.probability({"confidence": 0.5, "list_p": None}) is None
        assert found.probability({"confidence": 0.5}) is None
        assert found.probability({"list_p": 0.0}) == 0.5
        assert Isotonic(column="confidence", xs=(0.0,), ys=(0.5,)).probability({"confidence": None}) is None

    @pytest.mark.parametrize(
        "stored",
        [
            {},
            {"method": "logistic", "intercept": "no"},
            {"method": "logistic", "intercept": float("nan")},
            {"method": "isotonic", "column": "confidence", "xs": [0.1, 0.2], "ys": [0.9, 0.1]},
            {"method": "isotonic", "column": "confidence", "xs": [0.1, 0.1], "ys": [0.1, 0.9]},
            {"method": "isotonic", "column": "confidence", "xs": [0.1], "ys": [1.5]},
        ],
    )
    def test_a_damaged_map_is_refused(self, stored: dict[str, Any]) -> None:
        with pytest.raises(LogError, match="damaged; interpret calibrate makes another"):
            map_of(stored)


class TestFolds:
    def test_a_group_is_in_one_fold_and_wrong_ones_are_spread(self) -> None:
        groups = [f"g{n % 20}" for n in range(100)]
        truth = [n % 20 >= 10 for n in range(100)]
        found = folds(groups, truth, 3)
        homes = {group: {fold for fold, g in zip(found, groups, strict=True) if g == group} for group in groups}
        assert all(len(home) == 1 for home in homes.values())
        assert Counter(found) == dict.fromkeys(range(5), 20)
        wrong = Counter(fold for fold, right in zip(found, truth, strict=True) if not right)
        assert wrong == dict.fromkeys(range(5), 10)
        assert found == folds(groups, truth, 3) != folds(groups, truth, 4)

    def test_a_few_wrong_labels_do_not_keep_the_others_together(self) -> None:
        found = folds([*map(str, range(50))], [n > 3 for n in range(50)], 0)
        assert set(Counter(found).values()) == {10}

    def test_there_are_no_more_folds_than_groups(self) -> None:
        assert {*folds(["a", "b", "a"], [True, False, True], 0)} == {0, 1}


class TestFit:
    @pytest.mark.parametrize("n", [1, 2, 3, 4])
    def test_labels_of_three_concepts_are_enough_and_of_fewer_are_refused(self, n: int) -> None:
        p, truth = drawn(40)
        labels = replace(table(p, truth), groups=tuple(f"g{place % n}" for place in range(40)))
        if n >= MIN_GROUPS:
            assert len(fit(labels, 0).probabilities) == 40
            _check(40, sum(labels.truth), n, "reviews")
        else:
            with pytest.raises(SettingsError, match=rf"All 40 labels are of {n} concepts?, and at least 3 are needed"):
                _check(40, sum(labels.truth), n, "reviews")

    def test_a_calibrated_set_stays_calibrated(self) -> None:
        p, truth = drawn()
        found = fit(table(p, truth), 0)
        after = said(found.probabilities, truth)
        assert expected_calibration_error(after) < error_by_chance(after, 0) + 0.02
        assert np.abs(predicted(found.map, table(p, truth)) - p).mean() < 0.05

    def test_an_overconfident_set_becomes_calibrated(self) -> None:
        p, truth = drawn()
        found = fit(table(p**0.2, truth), 0)
        error = measures(said(p**0.2, truth), said(found.probabilities, truth), 0)[0]
        assert error.before.value == pytest.approx(float(np.mean(p**0.2 - p)), abs=0.03)
        assert error.after.value is not None
        assert error.after.value < 0.05
        assert error.change.high is not None
        assert error.change.high < -0.2

    def test_what_tells_nothing_is_not_fitted_to(self) -> None:
        dice = np.random.default_rng(0)
        found = fit(table(dice.random(200), dice.random(200) < 0.7, first_z=dice.random(200)), 0)
        assert found.chosen == "base rate"
        assert found.map.probability({}) == pytest.approx(0.7, abs=0.1)

    def test_a_column_that_tells_more_than_the_stated_confidence_is_taken(self) -> None:
        p, truth = drawn(300)
        found = fit(table(np.random.default_rng(1).random(300), truth, sides=p), 0)
        assert found.chosen == "logistic, all columns"
        weights = {term.column: term.weight for term in found.map.terms}
        assert weights["sides"] > 5 * abs(weights["confidence"])

    def test_each_probability_is_by_a_map_that_has_not_seen_its_fold(self) -> None:
        p, truth = drawn(90)
        whole = table(p, truth)
        whole = CalibrationTable(whole.names, whole.values, whole.truth, tuple(str(n % 30) for n in range(90)))
        found = fit(whole, 0)
        for fold, chosen in enumerate(found.chosen_in):
            train = [place for place, of in enumerate(found.folds) if of != fold]
            test = whole.rows([place for place, of in enumerate(found.folds) if of == fold])
            plain = predicted(candidates(whole.names)[chosen](whole.rows(train)), test)
            mine = [p for p, of in zip(found.probabilities, found.folds, strict=True) if of == fold]
            assert mine == pytest.approx(plain, abs=1e-12)
            assert not {*test.groups} & {*whole.rows(train).groups}

    def test_the_simplest_that_is_about_as_good_is_chosen(self) -> None:
        best = np.array([0.1, 0.2, 0.3, 0.4])
        spread = np.array([1.0, -1.0, 1.0, -1.0])  # of a mean difference of 0.1 the standard error is 0.5
        groups = [*"abcd"]
        assert simplest_good({"simple": best + 0.1 + spread, "best": best}, groups) == "simple"
        assert simplest_good({"simple": best + 0.1, "best": best}, groups) == "best"
        assert simplest_good({"simple": best, "best": best}, groups) == "simple"

    def test_log_loss_is_of_what_is_the_case(self) -> None:
        assert log_losses([True, False], np.array([0.8, 0.8])) == pytest.approx([-math.log(0.8), -math.log(0.2)])


class TestColumns:
    def test_each_is_read_off_label_and_evidence(self) -> None:
        listed = TokenList(5, SETTINGS, tokens(" dog", " cat"), z=(7.5, 1.0), p_value=0.01, n_random=99)
        clear = contrasted(tree(DOGS, 5), 0.2)
        assert clear.contrast is not None
        vague = replace(clear, contrast=replace(clear.contrast, p_value=0.5))
        evidence = [vague, clear, listed, projection(5)]
        known = LabelWithEvidence(label(5, label="dogs", confidence=0.6, rounds=2), lambda: evidence)
        found = values_of(known, [*COLUMNS])
        assert (found["confidence"], found["rounds"], found["first_z"]) == (0.6, 2, 7.5)
        assert (found["list_p"], found["tree_p"]) == (pytest.approx(-2), pytest.approx(math.log10(0.02)))
        assert found["sides"] == 1

    def test_sides_are_those_that_say_a_word_of_the_label(self) -> None:
        listed = TokenList(5, SETTINGS, tokens(" bird"), z=(7.5,), p_value=0.01, n_random=99)
        known = LabelWithEvidence(label(5, label="a dog"), lambda: [listed, projection(5)])
        assert values_of(known, ["sides"]) == {"sides": 0.5}

    def test_what_is_not_there_is_not_known(self) -> None:
        found = values_of(LabelWithEvidence(label(5, confidence=None), lambda: []), [*COLUMNS, "of a newer version"])
        assert {name for name, value in found.items() if value is None} == {*found} - {"rounds"}

    def test_evidence_is_read_only_where_a_column_asks_for_it(self) -> None:
        def read() -> Any:
            raise AssertionError("read")

        assert (
            values_of(LabelWithEvidence(label(5, confidence=0.6), read), ["confidence", "rounds"])["confidence"] == 0.6
        )


def test_the_latest_calibration_of_the_own_subject_comes_before_later_ones_of_others() -> None:
    def made(number: int, *subjects: str) -> CalibrationRow:
        return CalibrationRow("e", "", subjects, {}, 30, 15, {}, number, "")

    found = [made(3, "b"), made(2, "a"), made(1, "a", "b")]
    assert calibration_for(found, "a") == found[1]
    assert calibration_for(found, "b") == found[0]
    assert calibration_for(found, "c") == found[0]
    assert calibration_for([], "a") is None
