"""Settings beside each other: the planted best one wins, equal ones do not differ, words say no more than figures."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from agent.log.comparisons import FitRow
from eval.compare.measures import CHOSEN_BY, JOINT
from eval.compare.pictures import drawn_measure, picture
from eval.compare.report import (
    PairedComparison,
    SettingMeasures,
    against,
    choice,
    halves,
    measure_summaries,
    pair,
    pairs,
    setting_measures,
)
from eval.compare.verdict import choice_words, figure, verdict, versus_words
from eval.metrics import Estimate
from probes.settings import ProbeSettings, VectorSettings

N = 200
A, B, C = (ProbeSettings(vector=VectorSettings(weights=w, scale=1.0)) for w in ("encoder", "decoder", "blend:0.5"))
NAMES = {A: "encoder", B: "decoder", C: "blend"}


def fits(level: float, seed: int = 0, n: int = N, control: float = 0.5, missing: Sequence[int] = ()) -> list[FitRow]:
    """Fits of list and tree around a level; the same features are hard under every setting."""
    hard = np.random.default_rng(99).normal(0, 0.1, n)
    noise = np.random.default_rng(seed).normal(0, 0.05, n)
    rows = []
    for feature in range(n):
        for measure in ("list", "tree"):
            if feature in missing:
                rows.append(FitRow(feature, measure, feature, None, "never activated", None, None, 0))
                continue
            own = float(np.clip(level + hard[feature] + noise[feature], 0, 1))
            rows.append(FitRow(feature, measure, feature, own, None, own - 0.1, own + 0.1, 50))
            rows += [
                FitRow(feature, measure, (feature + step) % n, control + 0.1 * (step - 2), None, None, None, 50)
                for step in (1, 2, 3)
            ]
    return rows


def found(**levels: Callable[[], list[FitRow]] | float) -> dict[ProbeSettings, SettingMeasures]:
    settings = dict(zip(levels, (A, B, C), strict=False))
    rows = {
        name: fits(value, seed) if isinstance(value, float) else value()
        for seed, (name, value) in enumerate(levels.items())
    }
    return {settings[name]: setting_measures(some, range(N)) for name, some in rows.items()}


def test_the_joint_measure_is_the_mean_of_both_and_the_specific_one_takes_the_mean_control_off() -> None:
    rows = [
        FitRow(4, "list", 4, 0.9, None, None, None, 10),
        FitRow(4, "tree", 4, 0.6, None, None, None, 10),
        *(FitRow(4, "list", other, 0.4, None, None, None, 10) for other in (5, 6)),
        FitRow(4, "tree", 5, 0.5, None, None, None, 10),
        FitRow(4, "tree", 6, None, "no held-out text", None, None, 0),
    ]
    of = setting_measures(rows, [4])
    assert of.own[JOINT] == {4: pytest.approx(0.75)}
    assert of.own[CHOSEN_BY] == {4: pytest.approx(0.75 - 0.45)}
    assert of.another["list"] == {4: pytest.approx(0.4)}


def test_features_that_were_not_asked_for_do_not_count() -> None:
    assert setting_measures(fits(0.7), [1, 2]).own["list"].keys() == {1, 2}


def test_a_measure_that_is_yes_or_no_is_a_proportion_whose_interval_stays_between_0_and_1() -> None:
    rows = [FitRow(feature, "readout", feature, float(feature == 3), None, None, None, 1) for feature in range(20)]
    (line,) = (one for one in measure_summaries({A: setting_measures(rows, range(20))}, 0) if one.measure == "readout")
    assert (line.mean.value, line.mean.n) == (1 / 20, 20)
    assert (line.mean.low, line.mean.high) == pytest.approx((0.00888, 0.23613), abs=1e-4)  # Wilson's, from a table


def test_a_feature_without_others_to_compare_with_has_no_specific_fit_and_that_is_said() -> None:
    alone = setting_measures([row for row in fits(0.7) if row.is_own], range(N))
    (line,) = (line for line in measure_summaries({A: alone}, 0) if line.measure == CHOSEN_BY)
    assert line.mean.value is None
    assert line.unmeasured == [("no other feature was there to compare with", N)]


def test_what_is_unmeasured_is_counted_with_its_reason_and_is_never_0() -> None:
    some = setting_measures(fits(0.7, missing=range(30)), range(N))
    (line,) = (line for line in measure_summaries({A: some}, 0) if line.measure == "list")
    assert line.mean.n == N - 30
    assert (line.mean.value or 0) > 0.65
    assert line.unmeasured == [("never activated", 30)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_planted_better_setting_wins_with_an_interval_that_holds_the_truth(seed: int) -> None:
    values = found(a=0.6, b=0.65)
    ahead = pair(values, B, A, JOINT, seed).versus
    assert ahead.is_shown
    assert ahead.difference.low is not None
    assert ahead.difference.high is not None
    assert ahead.difference.low < 0.05 < ahead.difference.high
    assert ahead.wins > ahead.losses
    assert ahead.wins + ahead.ties + ahead.losses == ahead.difference.n == N
    best = choice(values, A, seed)
    assert best is not None
    assert best.setting == B
    assert best.pair is not None
    assert best.pair.versus.difference.n == N // 2


def test_identical_settings_do_not_differ_at_all() -> None:
    values = found(a=lambda: fits(0.6), b=lambda: fits(0.6))
    for item in pairs(values, A, 0):
        assert (item.versus.wins, item.versus.ties, item.versus.losses) == (0, N, 0)
        assert (item.versus.difference.value, item.versus.is_shown) == (0.0, False)
        assert verdict(item, NAMES.__getitem__).startswith("No difference")
    best = choice(values, A, 0)
    assert best is not None
    assert best.setting == A


def test_settings_that_differ_by_noise_alone_are_seldom_told_apart() -> None:
    shown = 0
    for seed in range(60):
        values = {
            A: setting_measures(fits(0.6, seed=2 * seed), range(N)),
            B: setting_measures(fits(0.6, seed=2 * seed + 1), range(N)),
        }
        shown += pair(values, B, A, JOINT, seed).versus.is_shown
    assert shown <= 9  # 3 are expected; more than 9 of 60 would happen once in 1,500 times


def test_only_features_that_have_both_are_paired() -> None:
    values = {
        A: setting_measures(fits(0.6, missing=range(50)), range(N)),
        B: setting_measures(fits(0.7, missing=range(150, N)), range(N)),
    }
    assert pair(values, B, A, "list", 0).versus.difference.n == 100


def test_a_setting_is_chosen_on_one_half_and_reported_on_the_other() -> None:
    development, other = halves(range(N), 0)
    assert not development & other
    assert development | other == {*range(N)}
    assert halves(range(N), 1)[0] != development
    rows = [
        FitRow(f, m, o, 0.5 if o != f else (0.9 if f in development else 0.4), None, None, None, 9)
        for f in range(N)
        for m in ("list", "tree")
        for o in (f, (f + 1) % N)
    ]
    best = choice({A: setting_measures(fits(0.6), range(N)), B: setting_measures(rows, range(N))}, A, 0)
    assert best is not None
    assert best.setting == B, "it looks better on the development half"
    assert best.pair is not None
    assert (best.pair.versus.difference.value or 0) < 0, "and is reported where it is worse"
    assert best.reported.value == pytest.approx(0.4 - 0.5)


def test_the_best_of_many_equal_settings_is_reported_without_the_luck_it_was_chosen_by() -> None:
    settings = [ProbeSettings(vector=VectorSettings(scale=1.0 + n)) for n in range(30)]
    ahead = []
    for seed in range(20):
        values = {
            s: setting_measures(fits(0.6, seed=100 * seed + place, n=60), range(60)) for place, s in enumerate(settings)
        }
        best = choice(values, settings[0], seed)
        assert best is not None
        if best.pair is not None:
            ahead.append(best.pair.versus.difference.value)
    assert abs(np.mean(ahead)) < 0.006, "on the half it was chosen on it would be ahead by .02"


def test_one_setting_alone_and_features_without_values_give_no_choice() -> None:
    assert choice(found(a=0.6), A, 0) is None
    nothing = setting_measures(fits(0.6, missing=range(N)), range(N))
    assert choice({A: nothing, B: nothing}, A, 0) is None
    assert pairs({A: nothing, B: nothing}, A, 0) == []


class TestVerdicts:
    def test_a_winner_is_named_with_odds_and_size(self) -> None:
        words = verdict(pair(found(a=0.6, b=0.65), B, A, JOINT, 0), NAMES.__getitem__)
        assert words.startswith("decoder beats encoder on ")
        assert f"of {N} features" in words

    def test_the_winner_is_the_one_that_is_ahead_whichever_is_the_baseline(self) -> None:
        words = verdict(pair(found(a=0.65, b=0.6), B, A, JOINT, 0), NAMES.__getitem__)
        assert words.startswith("encoder beats decoder on ")
        assert "higher by ." in words
        assert "-" not in words

    def test_a_mean_that_few_features_make_is_no_victory_on_most(self) -> None:
        ours = {n: 0.9 if n < 40 else 0.49 for n in range(100)}
        theirs = dict.fromkeys(range(100), 0.5)
        words = versus_words("x", "y", against(ours, theirs, 0), "AUROC")
        assert words.startswith("x is ahead of y only on average")
        assert words.endswith("better on 40% of 100 features, worse on 60%.")

    def test_a_difference_that_does_not_vary_is_shown_where_all_features_are_on_one_side(self) -> None:
        higher = dict.fromkeys(range(8), 0.75)
        words = versus_words("x", "y", against(higher, dict.fromkeys(range(8), 0.5), 0), "AUROC")
        assert words == "x beats y on 100% of 8 features; AUROC higher by .250."
        equal = versus_words("x", "y", against(higher, higher, 0), "AUROC")
        assert equal.startswith("No difference between x and y could be shown: AUROC +.000, x better on 0%")

    def test_one_feature_and_none_allow_no_verdict(self) -> None:
        assert "One feature is too few" in versus_words("x", "y", against({1: 0.9}, {1: 0.5}, 0), "AUROC")
        few = against(dict.fromkeys(range(5), 0.9), dict.fromkeys(range(5), 0.5), 0)
        assert versus_words("x", "y", few, "AUROC").startswith("5 features are too few to tell x from y: AUROC +.400")
        assert not few.is_shown
        assert "cannot be compared" in versus_words("x", "y", against({1: 0.9}, {2: 0.5}, 0), "AUROC")

    def test_a_choice_tells_both_halves(self) -> None:
        best = choice(found(a=0.6, b=0.65, c=0.62), A, 0)
        assert best is not None
        words = choice_words(best, NAMES.__getitem__)
        assert f"on {N // 2} features: decoder." in words
        assert "There: decoder beats encoder on" in words

    @pytest.mark.parametrize(
        ("value", "words"), [(0.0311, ".031"), (-0.01, "-.010"), (1.2, "1.200"), (-1e-9, ".000"), (0.9999, "1.000")]
    )
    def test_figures_have_three_digits(self, value: float, words: str) -> None:
        assert figure(value) == words

    def test_a_shown_difference_leaves_0_out_of_its_interval(self) -> None:
        for low, high, shown in ((0.01, 0.2, True), (-0.2, -0.01, True), (-0.1, 0.1, False), (None, None, False)):
            assert PairedComparison(Estimate(0.05, low, high, 50), 30, 0, 20).is_shown is shown


class TestPictures:
    def test_two_settings_are_drawn_by_the_measure_that_the_page_shows(self) -> None:
        values = found(a=0.6, b=0.65)
        assert drawn_measure(values) == CHOSEN_BY
        axes = picture(values, NAMES, 0).axes[0]
        points = np.asarray(axes.collections[0].get_offsets()).tolist()
        assert points[0] == [values[A].own[CHOSEN_BY][0], values[B].own[CHOSEN_BY][0]]
        assert axes.get_figure(root=True).get_suptitle() == "specificity of each feature"  # type: ignore[union-attr]

    def test_where_no_feature_has_a_value_of_it_the_next_measure_is_drawn(self) -> None:
        alone = {
            s: setting_measures([FitRow(1, m, 1, 0.7, None, None, None, 9) for m in ("list", "tree")], [1])
            for s in (A, B)
        }
        assert drawn_measure(alone) == JOINT
        assert np.asarray(picture(alone, NAMES, 0).axes[0].collections[0].get_offsets()).tolist() == [[0.7, 0.7]]
