"""Agreement of trees: words that they share beyond what any ghost would make the model write."""

from dataclasses import replace

import pytest

from probes.evidence import Contrast, Tree
from probes.null.agreement import agreement
from tests.trees import tree_of


def contrasted(tree: Tree, null: float, divergence: float = 0.3) -> Tree:
    """The tree, each of its nodes so probable after ghosts that say nothing."""
    nulls = (1.0, *[null] * (tree.n_nodes - 1))
    return replace(tree, contrast=Contrast(nulls, nulls, divergence, 0.02, 48))


def said(**words: float) -> Tree:
    """A tree that says these words, which no other ghost does."""
    return contrasted(tree_of([([word], p) for word, p in words.items()]), 1e-9)


def test_trees_that_say_the_same_agree() -> None:
    dog, cat = said(dog=0.6, animal=0.2), said(cat=0.6)
    assert agreement([dog, dog]) == pytest.approx(1)
    assert agreement([dog, cat]) == 0
    assert agreement([dog, said(dog=0.3, animal=0.1)]) == pytest.approx(0.5)
    assert agreement([dog, dog, cat]) == pytest.approx(1 / 3)
    assert agreement([said(Dog=0.5), said(dog=0.5)]) == pytest.approx(1)
    twice = contrasted(tree_of([(["dog", " dog"], 0.5)]), 1e-9)
    assert agreement([twice, said(dog=0.5)]) == pytest.approx(1)


def test_what_any_ghost_would_say_is_no_agreement() -> None:
    the = contrasted(tree_of([(["the", " dog"], 0.5)]), 0.5)
    a = contrasted(tree_of([(["the", " cat"], 0.5)]), 0.5)
    assert agreement([the, a]) is None
    assert agreement([tree_of([(["dog"], 0.5)]), said(dog=0.5)]) is None
    assert agreement([said(dog=0.5)]) is None
    assert agreement([said(dog=0.5), contrasted(tree_of([(['"'], 0.5), (["."], 0.3)]), 1e-9)]) is None
