"""Labels against known concepts: what counts as right, and that the shuffled control really shuffles."""

import pytest

from eval.scoring.known import agreement, names_concept
from probes.demo.shipped import KnownConcept, ShippedTruth

DOG = KnownConcept("dog", ("dog", "animal"), 0.9)
NAMES = {"dog": "dog", "hound": "dog", "animal": "animal", "fruit": "fruit", "city": "city"}


def truth(n: int) -> ShippedTruth:
    concepts = [KnownConcept(name, (name,), 0.9) for name in ("dog", "fruit", "city")]
    return ShippedTruth({f: concepts[f % 3] for f in range(n)}, NAMES)


@pytest.mark.parametrize(
    ("label", "right"),
    [
        ("dog", True),
        ("Hound", True),
        ("a kind of dog", True),
        ("dog, an animal", True),
        ("animal", False),
        ("dog or fruit", False),
        ("hotdogs", False),
        ("", False),
        (None, False),
    ],
)
def test_a_label_is_right_when_it_names_the_concept_and_no_unrelated_one(label: str | None, right: bool) -> None:
    assert names_concept(label, DOG, truth(0)) is right


def test_unlabelled_features_count_as_wrong_and_unknown_ones_not_at_all() -> None:
    found = agreement({0: "dog", 1: None, 2: "city", 99: "dog"}, truth(3))
    assert found is not None
    assert (found.right.k, found.right.n) == (2, 3)


def test_no_label_stays_in_its_place_when_shuffled() -> None:
    one_each = ShippedTruth({f: KnownConcept(n, (n,), 1.0) for f, n in enumerate(("dog", "fruit", "city"))}, NAMES)
    for seed in range(20):
        found = agreement({0: "dog", 1: "fruit", 2: "city"}, one_each, seed)
        assert found is not None
        assert found.right.value == 1
        assert found.shuffled.k == 0


def test_nothing_known_is_no_figure() -> None:
    assert agreement({7: "dog"}, truth(3)) is None
