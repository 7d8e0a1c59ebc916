"""Requests that share settings are computed together, and come back in the order they were asked for. No torch."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from probes.evidence import Evidence, ProbeRequest

Key = TypeVar("Key", bound=Hashable)


def in_groups(
    requests: Sequence[ProbeRequest],
    key: Callable[[ProbeRequest], Key],
    answer: Callable[[Key, Sequence[ProbeRequest]], Iterable[Evidence]],
) -> list[Evidence]:
    """The evidence for `requests`, in their order; `answer` gets those of each key at once and keeps their order."""
    places: dict[Key, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        places[key(request)].append(place)
    found: dict[int, Evidence] = {}
    for shared, where in places.items():
        found |= zip(where, answer(shared, [requests[place] for place in where]), strict=True)
    return [found[place] for place in range(len(requests))]
