"""The embedded explainer's experiments: what evidence warrants them, and what it makes of the results."""

from typing import Any

import pytest

from agent.evidence.digest import digest
from agent.llm.experimenting import NEAR, TESTED_WORDS, UNSURE, Rule
from agent.llm.offline import CHANGES, propose
from agent.schema import Proposal
from probes.behaviour import Continuation, Continuations, Neighbour, Neighbours, TokenPair
from probes.evidence import Evidence, ExpectedText, Experiment, TextResult, Tree
from probes.settings import ProbeSettings
from tests.fakes import DOGS, Definitions, contrasted, tree, vocabulary_list

SETTINGS = ProbeSettings.parse({"vector": {"scale": 2.0}})
TIED: Definitions = {'a kind of dog that barks"': 0.4, 'a city on the map"': 0.4}
ALL_CHANGES = [{"evidence": [], "asked": change.model_dump(exclude_none=True)} for change in CHANGES]
"""A history in which all other settings were asked for."""
UNLIKE: Definitions = {'a cat that"': 0.05, 'a hat that"': 0.05}


def of(definitions: Definitions, p_value: float = 0.01, null: float = 0.01) -> Tree:
    return contrasted(tree(definitions, settings=SETTINGS), p_value, null)


def context(*evidence: Evidence, after: tuple[Evidence, ...] = (), last: bool = False, **more: Any) -> dict[str, Any]:
    """Of a first round, or of a second one whose evidence is `after`."""
    first = digest(evidence, 2.0)
    if not after:
        return {"evidence": first, "last": last, "history": [], "experiments": True, "can_test": not last, **more}
    past = {"evidence": first, "asked": {}}
    return {"evidence": digest(after, 2.0, 9), "last": last, "history": [past], "can_test": not last, **more}


def unsure() -> tuple[Evidence, ...]:
    """Evidence of a label with less confidence than may go untested."""
    listed = vocabulary_list(" dog", " puppy", " hound", " terrier", " collie", p_value=0.04)
    return of({'a dog that barks"': 0.65, 'a hat that"': 0.2}, p_value=0.04), listed


def ran(made: Proposal, *held: bool) -> Experiment:
    """The tests of a proposal; `held` says which of the texts that should activate the feature do."""
    does = iter([*held])
    results = [
        TextResult(ExpectedText(t.text, t.expected, t.hypothesis), ("x",), (9.0 * (t.expected and next(does, False)),))
        for t in made.tests
    ]
    return Experiment(7, SETTINGS, tuple(results), 10.0, False)


def near(
    cosine: float = 0.8, shared: tuple[str, ...] = (" dog",), own: tuple[str, ...] = (" collie", " dogs")
) -> Neighbours:
    pairs = [tuple(TokenPair(token, 1.0, 0.0) for token in tokens) for tokens in (own, shared, (" wolf",))]
    return Neighbours(7, SETTINGS, (Neighbour(8, cosine, *pairs),))


def wrote(*texts: str, beside: str = " was a man") -> Continuations:
    lines = tuple(Continuation("It is", text, beside) for text in texts)
    return Continuations(7, SETTINGS, 5.0, False, 3, lines)


def test_a_label_that_is_not_sure_is_tested_by_words_of_the_list_in_sentences() -> None:
    found = propose(context(*unsure()))
    assert found.action == "test"
    positive = [test for test in found.tests if test.expected]
    assert {test.hypothesis for test in found.tests} == {"dog"}
    assert [word in test.text for word, test in zip(("dog", "puppy", "hound", "terrier"), positive, strict=True)] == [
        True
    ] * TESTED_WORDS
    assert not [test for test in found.tests if not test.expected and "dog" in test.text]


def test_a_label_that_is_sure_is_not_tested() -> None:
    listed = vocabulary_list(" dog", " puppy")
    found = propose(context(of(DOGS), listed))
    assert (found.action, found.label) == ("label", "dog")
    assert found.confidence is not None
    assert found.confidence >= UNSURE


@pytest.mark.parametrize("change", [{"can_test": False}, {"rules": frozenset({"steer"})}])
def test_nothing_is_tested_where_that_is_not_granted(change: dict[str, Any]) -> None:
    assert propose(context(*unsure(), **change)).action == "label"


def test_a_label_that_no_text_bears_out_is_dropped() -> None:
    made = propose(context(*unsure()))
    kept = propose(context(*unsure(), after=(ran(made, False, True),), last=True))
    assert (kept.action, kept.label) == ("label", "dog")
    dropped = propose(context(*unsure(), after=(ran(made),), last=True))
    assert dropped.action == "abstain"
    assert 'no text for "dog" activates' in dropped.reason


def test_a_noun_that_other_vectors_have_too_is_compared_with_the_nearest_feature() -> None:
    generic = of(DOGS, null=0.3)
    found = propose(context(generic, vocabulary_list(" dog")))
    assert (found.action, found.label) == ("compare", "dog")
    assert propose(context(of(DOGS, null=0.001), vocabulary_list(" dog"))).action == "label"
    told = propose(context(generic, vocabulary_list(" dog"), after=(near(),), last=True))
    assert told.label == "dog: collie"  # and not "dogs", which is the label's own word


@pytest.mark.parametrize("found", [near(cosine=NEAR - 0.01), near(shared=()), near(own=())])
def test_a_label_stays_where_nothing_near_has_the_same(found: Neighbours) -> None:
    assert propose(context(of(DOGS, null=0.3), vocabulary_list(" dog"), after=(found,), last=True)).label == "dog"


def test_two_nouns_that_tie_are_two_senses() -> None:
    found = propose(context(of(TIED), vocabulary_list(" dog", " city"), last=True, can_test=False))
    assert (found.action, found.label) == ("label", "city; dog")
    assert [sense.text for sense in found.senses] == ["city", "dog"]
    none: frozenset[Rule] = frozenset()
    for change in ({"rules": none}, {"experiments": False}):
        assert propose(context(of(TIED), vocabulary_list(" dog", " city"), last=True, **change)).action == "abstain"
    common = context(of(TIED, null=0.3), vocabulary_list(" dog", " city"), last=True, can_test=False)
    assert propose(common).action == "abstain"


def test_what_nothing_names_is_clamped_and_labelled_by_what_the_model_writes() -> None:
    seen = (of(UNLIKE), vocabulary_list(" \u00a7", p_value=0.04))
    first = propose(context(*seen, after=seen))
    last_change = [
        {"evidence": [], "asked": change} for change in ({"scale": 1.5}, {"weights": "decoder"}, {"scale": 0.6})
    ]
    asked = context(*seen)
    first = propose({**asked, "history": last_change})
    assert first.action == "steer"

    def then(found: Continuations) -> Proposal:
        return propose(context(*seen, after=(found,), last=True))

    named = then(wrote(" a dog here", " the dog", " dog and man", " cat"))
    assert (named.action, named.label, named.promotes) == ("label", "dog", "dog")
    assert then(wrote(" a dog here", " the dog", " cat", " cat")).action == "abstain"
    everywhere = then(wrote(" a man", " the man", " man and dog", " man"))
    assert everywhere.action == "abstain"  # a random feature writes it too
    assert then(wrote()).action == "abstain"


def test_random_looking_evidence_is_not_steered() -> None:
    asked = context(of(UNLIKE, p_value=0.2), vocabulary_list(" \u00a7", p_value=0.2))
    assert propose({**asked, "history": ALL_CHANGES}).action == "abstain"


def test_where_several_candidates_are_taken_the_next_noun_is_tried_too() -> None:
    evidence = (of({'a dog that barks"': 0.6, 'a hat that"': 0.2}), vocabulary_list(" dog", " puppy", p_value=0.01))
    made = propose(context(*evidence, last=True, candidates=3))
    assert (made.label, [one.label for one in made.candidates]) == ("dog", ["dog", "hat"])
    assert all(len(one.texts) == 4 and all(one.label in text for text in one.texts) for one in made.candidates)
    assert propose(context(*evidence, last=True)).candidates == ()


def test_a_noun_whose_own_name_is_no_token_of_the_list_has_no_candidates() -> None:
    """Its texts may activate nothing, and it would be dropped: a class is named by its members."""
    evidence = (of({'a dog that barks"': 0.6, 'a hat that"': 0.2}), vocabulary_list(" spaniel", " puppy", p_value=0.01))
    made = propose(context(*evidence, last=True, candidates=3))
    assert (made.label, made.candidates) == ("dog", ())


def test_a_label_of_the_list_s_words_has_no_candidates() -> None:
    listed = vocabulary_list(" law", " Law", " laws", " lawyer", p_value=0.01)
    made = propose(context(listed, of(UNLIKE), last=True, candidates=3))
    assert (made.label, made.candidates) == ("law", ())
