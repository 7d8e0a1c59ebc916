"""Sets of feature indices as short text, `0-500,503`, and back."""

from collections.abc import Iterable
from itertools import groupby


def as_ranges(features: Iterable[int]) -> str:
    """`features` in rising order, each once, runs of neighbours as `first-last`."""
    ordered = sorted(set(features))
    neighbours = groupby(enumerate(ordered), key=lambda place: place[1] - place[0])
    spans = [[feature for _, feature in group] for _, group in neighbours]
    return ",".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}" for span in spans)


def from_ranges(text: str) -> frozenset[int]:
    """The set that `as_ranges` was given."""
    spans = (span.partition("-") for span in text.split(",") if span)
    return frozenset(feature for first, _, last in spans for feature in range(int(first), int(last or first) + 1))
