"""Sets of feature indices as short text, `0-500,503`, and back."""

from collections.abc import Iterable
from itertools import groupby

MOST_FEATURES = 1 << 26


def as_ranges(features: Iterable[int]) -> str:
    """`features` in rising order, each once, runs of neighbours as `first-last`."""
    ordered = sorted(set(features))
    neighbours = groupby(enumerate(ordered), key=lambda place: place[1] - place[0])
    spans = [[feature for _, feature in group] for _, group in neighbours]
    return ",".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}" for span in spans)


def from_ranges(text: str) -> frozenset[int]:
    """The set that `as_ranges` was given. Raises ValueError for another text."""
    spans = [span.partition("-") for span in text.split(",") if span]
    ranges = [range(int(first), int(last or first) + 1) for first, _, last in spans]
    if sum(map(len, ranges)) > MOST_FEATURES:
        raise ValueError(f"features={text!r:.80} are more than any SAE has")
    return frozenset(feature for some in ranges for feature in some)
