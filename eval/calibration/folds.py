"""Folds that keep together what belongs together: labels of one concept are never both fitted to and judged by."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

FOLDS = 5


def folds(groups: Sequence[str], truth: Sequence[bool], seed: int, most: int = FOLDS) -> list[int]:
    """The fold of each label, `most` of them or one for each group: each group in one, the wrong ones spread evenly.

    Groups with wrong labels go first, those with most of them before others, to the fold that has fewest wrong ones and
    of these to the smallest; the other groups go to the smallest fold, the largest groups first.
    """
    wrong = Counter(group for group, right in zip(groups, truth, strict=True) if not right)
    size = Counter(groups)
    names = sorted(size)
    shuffled = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    loads = [(0, 0)] * min(most, len(names))
    home: dict[str, int] = {}
    for group in sorted(shuffled, key=lambda name: (-wrong[name], -size[name])):
        fold = min(range(len(loads)), key=lambda place: (loads[place][0] if wrong[group] else 0, loads[place][1]))
        home[group] = fold
        loads[fold] = (loads[fold][0] + wrong[group], loads[fold][1] + size[group])
    return [home[group] for group in groups]
