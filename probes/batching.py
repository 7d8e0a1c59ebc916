"""Items that are alike are computed together, and what is found of them comes back in their order. No torch."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


def in_groups(
    items: Sequence[Item], key: Callable[[Item], Key], answer: Callable[[Key, Sequence[Item]], Iterable[Found]]
) -> list[Found]:
    """Returns an answer for each of `items`, in their order; `answer` gets those of each key at once, in order."""
    places: dict[Key, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        places[key(item)].append(place)
    found: dict[int, Found] = {}
    for shared, where in places.items():
        found |= zip(where, answer(shared, [items[place] for place in where]), strict=True)
    return [found[place] for place in range(len(items))]
