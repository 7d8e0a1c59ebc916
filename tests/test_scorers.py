"""Every scorer on features that activate exactly on one concept's words, with a judge that answers by rule."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from eval.scorers import SCORERS
from probes.examples import Example
from tests.judging import (
    CONCEPTS,
    WORLD,
    RuleJudge,
    example,
    marks,
    neighbour_texts,
    numbered,
    score,
    task,
    texts,
)

HALF_RIGHT = "some dogs, some fruit"
CHANCE = {
    "detection": 0.5,
    "fuzzing": 0.5,
    "simulation": 0.0,
    "embedding": 0.5,
    "clarity": 0.5,
    "discrimination": 0.25,
    "output": 1 / 3,
    "output_similarity": 1 / 3,
    "responsiveness": 0.5,
}
READING = [name for name in SCORERS if SCORERS[name].reads_label]
BATCHED = ["detection", "fuzzing", "discrimination"]


def value(name: str, label: str, **changes: Any) -> float:
    found = score(name, task(label, **changes))
    assert found.value is not None
    return found.value


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("feature", [0, 2])
def test_a_true_label_scores_near_perfectly(name: str, feature: int) -> None:
    found = score(name, task(CONCEPTS[feature], feature))
    assert found.value is not None
    assert found.value > 0.98
    assert found.reason is None
    assert found.low is not None
    assert found.high is not None
    assert CHANCE.get(name, found.extra.get("chance")) < found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("name", CHANCE)
def test_another_features_label_scores_at_chance(name: str) -> None:
    found = [value(name, label) for label in ("river", "colour")]  # concepts of no neighbour
    assert np.mean(found) == pytest.approx(CHANCE[name], abs=0.12)


@pytest.mark.parametrize("name", CHANCE)
def test_a_half_right_label_scores_in_between(name: str) -> None:
    halfway = (CHANCE[name] + 1) / 2
    assert value(name, HALF_RIGHT) == pytest.approx(halfway, abs=0.2)


@pytest.mark.parametrize("name", SCORERS)
def test_a_score_is_the_same_again_and_asks_the_same(name: str) -> None:
    judges = [RuleJudge(), RuleJudge(), RuleJudge()]
    first, second = (score(name, task(HALF_RIGHT), judge) for judge in judges[:2])
    assert first == second
    assert judges[0].prompts == judges[1].prompts
    if name in BATCHED:
        score(name, task(HALF_RIGHT, seed=1), judges[2])
        assert judges[0].prompts != judges[2].prompts


def test_detection_asks_about_every_text_once_and_about_as_many_of_each_side() -> None:
    judge = RuleJudge()
    what = task("dog", n=20)
    found = score("detection", replace(what, negatives=what.negatives + texts(0, "similar", 30)), judge)
    asked = [text for prompt in judge.prompts for text in numbered(prompt)]
    assert sorted(asked) == sorted(item.text for item in found.items)
    assert len({item.key for item in found.items}) == found.n == 40
    assert sum(bool(item.truth) for item in found.items) == 20
    sides = [[item.truth for item in found.items[start : start + 10]] for start in range(0, 40, 10)]
    assert all(len({*side}) == 2 for side in sides)  # mixed within every question


def test_detection_tells_which_negatives_a_label_falls_for() -> None:
    negatives = texts(0, "random", 10)
    rng = np.random.default_rng(0)
    negatives += [replace(example(1, "neighbour", n, ["apple"], rng), feature=0) for n in range(10)]
    found = score("detection", replace(task(HALF_RIGHT, n=20), negatives=negatives))
    assert found.extra["refused_neighbour"] == 0
    assert found.extra["refused_random"] is not None
    assert found.extra["refused_random"] > 0.5
    assert {"f1", "precision", "recall"} <= {*found.extra}


def test_detection_gives_f1_precision_and_recall() -> None:
    found = score("detection", task("nothing"))
    assert found.value == 0.5
    assert found.extra["recall"] == found.extra["f1"] == 0
    assert found.extra["precision"] is None  # no text was said to fit


def test_fuzzing_marks_the_active_tokens_and_as_many_silent_ones() -> None:
    judge = RuleJudge()
    what = task("dog", n=24)
    found = score("fuzzing", what, judge)
    right = [marks(item.text) for item in found.items if item.truth]
    wrong = [marks(item.text) for item in found.items if not item.truth]
    assert len(right) == len(wrong) == 24
    assert all({*tokens} <= {*WORLD["dog"]} for tokens in right)
    assert all({*tokens}.isdisjoint(WORLD["dog"]) for tokens in wrong)
    assert sorted(map(len, right)) == sorted(map(len, wrong))
    plain = {example.text for example in what.activating}
    assert {item.text.replace("«", "").replace("»", "") for item in found.items} == plain  # no other text gives it away


def test_fuzzing_never_asks_about_both_versions_of_a_text_at_once() -> None:
    judge = RuleJudge()
    score("fuzzing", task("dog", n=24), judge)
    for prompt in judge.prompts:
        plain = [text.replace("«", "").replace("»", "") for text in numbered(prompt)]
        assert len({*plain}) == len(plain)


def test_fuzzing_keeps_the_pattern_of_the_marks() -> None:
    tokens = tuple(f" w{place}" for place in range(30))
    activations = tuple(4.0 if place in (10, 11, 13) else 0.0 for place in range(30))
    what = replace(task("x"), activating=[Example(0, "activating", f"d{n}", tokens, activations) for n in range(9)])
    for item in score("fuzzing", what).items:
        places = [int(mark[1:]) for mark in marks(item.text)]
        assert np.diff(places).tolist() == [1, 2]


def test_fuzzing_borrows_a_silent_text_where_every_token_fires() -> None:
    loud = Example(0, "activating", "loud", (" dog", " dog"), (3.0, 2.0))
    non_activating = texts(0, "random", 1)
    found = score("fuzzing", replace(task("dog"), activating=[loud], negatives=non_activating))
    assert (found.value, found.n) == (1, 2)
    mislabelled = Example(0, "activating", "zero", (" the", " house"), (0.0, 0.0))
    assert score("fuzzing", replace(task("dog"), activating=[loud, mislabelled], negatives=non_activating)).n == 2
    assert score("fuzzing", replace(task("dog"), activating=[loud], negatives=[])).reason == (
        "the feature is active on every token, so none can be marked wrongly"
    )


def test_simulation_correlates_over_all_tokens_of_both_kinds_of_texts() -> None:
    found = score("simulation", task(HALF_RIGHT, n=40))
    truths = [value for item in found.items for value in item.truth]
    said = [value for item in found.items for value in item.prediction]
    assert found.value == pytest.approx(np.corrcoef(truths, said)[0, 1])
    assert (found.n, found.extra["tokens"]) == (20, 240)
    assert sum(any(item.truth) for item in found.items) == 10


def test_a_label_that_predicts_silence_everywhere_explains_nothing() -> None:
    found = score("simulation", task("nothing"))
    assert (found.value, found.low, found.high, found.reason) == (0, None, None, None)


def test_clarity_measures_what_the_subject_does_with_new_texts() -> None:
    found = score("clarity", task(HALF_RIGHT))
    assert (found.value, found.n) == (0.75, 20)
    assert found.extra == {"trigger_rate": 0.5, "false_trigger_rate": 0}


@pytest.mark.parametrize(("maximum", "rate"), [(None, 1.0), (49.0, 1.0), (51.0, 0.0)])
def test_a_text_triggers_above_a_tenth_of_the_maximum(maximum: float | None, rate: float) -> None:
    assert score("clarity", task("dog", maximum=maximum)).extra["trigger_rate"] == rate


def test_two_features_that_share_a_label_look_fine_to_detection_only() -> None:
    twin = [replace(e, feature=1) for e in texts(0, "activating", 40, seed=1)]
    collided = task("dog", neighbours={**task("dog").neighbours, 1: twin})
    assert score("detection", collided).value == 1
    found = score("discrimination", collided)
    assert found.value == pytest.approx(0.5, abs=0.2)
    assert found.extra == {"chance": 0.25}


def test_discrimination_leaves_out_texts_that_are_the_features_own() -> None:
    own = texts(0, "activating", 40)
    found = score("discrimination", task("dog", neighbours={1: own, 2: neighbour_texts(2, 9, 0)}))
    assert (found.value, found.extra) == (1, {"chance": 0.5})
    lone = score("discrimination", task("dog", neighbours={1: own}))
    assert lone.reason == "no held-out text of any neighbour on which the feature does not activate"


def test_responsiveness_and_purity_share_their_questions() -> None:
    judge = RuleJudge()
    score("responsiveness", task("dog"), judge)
    asked = {
        (question.purpose, question.item): prompt
        for question, prompt in zip(judge.questions, judge.prompts, strict=True)
    }
    score("purity", task("dog"), judge)
    assert len(judge.prompts) == 2 * len(asked)
    assert all(asked[q.purpose, q.item] == p for q, p in zip(judge.questions, judge.prompts, strict=True))


def test_ratings_are_compared_with_the_largest_activation_of_each_text() -> None:
    rng = np.random.default_rng(0)
    strong = [example(0, "activating", n, ["dog"], rng) for n in range(5)]
    weak = [replace(example(0, "activating", 10 + n, ["terrier"], rng)) for n in range(5)]
    weak = [replace(e, activations=tuple(a / 10 for a in e.activations)) for e in weak]
    what = task("terrier", activating=[*strong, *weak], negatives=texts(0, "random", 10))
    assert score("responsiveness", what).value == pytest.approx(
        2 / 3
    )  # above the ten non-activating ones, below the five
    found = score("purity", what)
    assert found.value == pytest.approx(0.5)  # five of the ten strongest
    assert found.extra["chance"] == pytest.approx(0.25)


def test_a_text_that_holds_something_like_it_is_neither_with_it_nor_without() -> None:
    partly = [replace(e, tokens=(" terribly", *e.tokens[1:])) for e in texts(0, "random", 10)]
    found = score("responsiveness", task("terrier", n=10, negatives=partly))
    assert {item.prediction for item in found.items} == {0.0, 1.0, 2.0}
    assert found.n == sum(item.prediction != 1 for item in found.items) < len(found.items)


@pytest.mark.parametrize("name", ["responsiveness", "purity"])
def test_a_label_that_fits_no_text_is_unscored_and_says_so(name: str) -> None:
    found = score(name, task("philosophy", n=10))
    assert (found.value, found.reason) == (None, "the judge finds what the label names in none of 20 texts")


def test_a_feature_of_two_senses_is_impure_for_one_of_them_however_well_it_responds() -> None:
    """Both senses activate it alike, so that a label of one of them finds half of the strongest."""
    both = task("dog", n=20)
    other = [replace(e, feature=0, document=f"other {n}") for n, e in enumerate(texts(1, "activating", 20))]
    mixed = replace(both, activating=[*both.activating, *other], negatives=texts(0, "random", 40, seed=3))
    assert score("purity", both).value == pytest.approx(1)
    assert score("purity", mixed).value == pytest.approx(0.6, abs=0.1)  # a few texts hold both


def test_an_intruder_is_found_among_the_examples_of_one_concept() -> None:
    judge = RuleJudge()
    found = score("intruder", task("", variant="feature"), judge)
    assert (found.value, found.n, found.extra) == (1, 10, {"chance": 0.2})
    assert all(len(numbered(prompt)) == 5 for prompt in judge.prompts)
    assert {question.purpose for question in judge.questions} == {"intruder"}
    assert not [prompt for prompt in judge.prompts if "Label" in prompt]


def test_no_intruder_is_found_where_nothing_unites_a_features_examples() -> None:
    mixture = [e for feature in range(6) for e in texts(feature, "activating", 8)]
    others = {feature: texts(feature, "activating", 4, seed=9) for feature in range(6)}
    found = score("intruder", task("", variant="unlabelled", activating=mixture, matched=others))
    assert found.value is not None
    assert found.low is not None
    assert found.low < 0.2


def test_the_control_of_the_intruder_shows_texts_of_five_other_features() -> None:
    judge = RuleJudge()
    found = score("intruder", task("", variant="mixed"), judge)
    assert found.value is not None
    assert found.low is not None
    assert found.low < 0.2  # at chance, as far as ten choices tell
    for prompt in judge.prompts:
        concepts = [next(c for c, words in WORLD.items() if {*marks(text)} <= {*words}) for text in numbered(prompt)]
        assert len({*concepts}) == 5
        assert "dog" not in concepts


def test_an_intruder_needs_examples_enough_and_another_feature() -> None:
    assert "fewer than 4" in str(score("intruder", task("", n=3, variant="feature")).reason)
    assert "of another feature" in str(score("intruder", task("", variant="feature", matched={})).reason)
    few = {n: texts(n, "activating", 4) for n in range(1, 4)}
    assert "fewer than 5 other" in str(score("intruder", task("", variant="mixed", matched=few)).reason)
    out = RuleJudge(lambda *_: {"text": 6})
    assert "chooses text 6, out of 1 to 5" in str(score("intruder", task("", variant="feature"), out).reason)
