"""Labels that a good label must beat: truly another's, truly the top tokens, and one made from shown texts only."""

import asyncio

import pytest

from eval.scorers.base import JudgeReply
from eval.scoring.controls import (
    ONE_SHOT_EXAMPLES,
    OneShotLabel,
    one_shot_question,
    shuffled,
    top_tokens,
    top_tokens_label,
)
from probes.examples import Example
from tests.judging import CONCEPTS, RuleJudge, texts


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [2, 3, 10, 101])
def test_every_label_goes_to_another_feature_and_none_twice(n: int, seed: int) -> None:
    donors = shuffled({feature: f"label {feature}" for feature in range(n)}, {}, seed)
    assert [*donors] == [*range(n)]
    assert sorted(donors.values()) == [*range(n)]
    assert all(feature != donor for feature, donor in donors.items())


@pytest.mark.parametrize("seed", range(50))
def test_never_the_same_concept_and_never_the_same_words(seed: int) -> None:
    concepts = dict.fromkeys(range(5), "dog") | dict.fromkeys(range(5, 7), "cat")
    labels = {feature: f"label {feature}" for feature in range(10)} | {7: "Hounds", 8: "hounds ", 9: "HOUNDS"}
    donors = shuffled(labels, concepts, seed)
    assert {*donors} == {*labels}  # half of them share a concept: just possible
    for feature, donor in donors.items():
        assert concepts.get(feature, feature) != concepts.get(donor, donor)
        assert not {feature, donor} <= {7, 8, 9}


def test_unknown_concepts_are_not_the_same_one() -> None:
    assert len(shuffled({0: "a", 1: "b"}, {}, seed=0)) == 2


def test_a_feature_that_no_label_can_go_to_is_left_out() -> None:
    assert shuffled({7: "alone"}, {}, seed=0) == {}
    assert shuffled({}, {}, seed=0) == {}
    donors = shuffled({0: "dog", 1: "dog", 2: "dog", 3: "cat"}, {}, seed=0)
    assert donors[3] in (0, 1, 2)
    assert [donor for feature, donor in donors.items() if feature != 3] == [3]


def test_shuffling_follows_its_seed() -> None:
    labels = {feature: f"label {feature}" for feature in range(30)}
    assert shuffled(labels, {}, 1) == shuffled(dict(reversed([*labels.items()])), {}, 1)
    assert shuffled(labels, {}, 1) != shuffled(labels, {}, 2)


@pytest.mark.parametrize("seed", range(5))
def test_one_feature_more_changes_few_labels(seed: int) -> None:
    labels = {feature: f"label {feature % 30}" for feature in range(100)}
    fewer, more = shuffled(labels, {}, seed), shuffled({**labels, 100: "label 100"}, {}, seed)
    assert sum(fewer[feature] != more[feature] for feature in fewer) <= 5


def test_top_tokens_are_those_with_the_most_activation() -> None:
    examples = [
        Example(0, "activating", "a", (" dog", " ran", " dog"), (2.0, 0.5, 2.0)),
        Example(0, "activating", "b", (" puppy", " dog", " the"), (3.0, 1.0, 0.0)),
    ]
    assert top_tokens(examples) == [" dog", " puppy", " ran"]


def test_a_label_of_tokens_has_each_word_once_and_no_blanks() -> None:
    assert top_tokens_label([" dog", "Dog", " ", " puppy", "dog "]) == "dog, puppy"
    assert top_tokens_label(f" t{number}" for number in range(50)).count(",") == 9
    assert top_tokens_label([]) == ""


def test_a_one_shot_label_is_made_from_the_strongest_firing_texts() -> None:
    weak = [Example(2, "activating", f"w{n}", (" gale", " weakly"), (1.0, 0.0)) for n in range(5)]
    strong = texts(2, "activating", ONE_SHOT_EXAMPLES)
    judge = RuleJudge()
    reply: JudgeReply[OneShotLabel] = asyncio.run(
        judge.ask(one_shot_question(2, [*weak, *texts(2, "random", 9), *strong]))
    )
    assert reply.value == OneShotLabel(label=CONCEPTS[2])
    (question,) = judge.questions
    assert (question.purpose, question.feature, question.item) == ("one_shot", 2, 0)
    assert len(question.context["texts"]) == ONE_SHOT_EXAMPLES
    assert "weakly" not in judge.prompts[0]
    few = one_shot_question(2, [*weak, *texts(2, "random", 9)]).context["texts"]
    assert len(few) == len(weak)  # rather few texts than non-activating ones
    assert {token["strength"] for text in question.context["texts"] for token in text["tokens"]} == {10}
