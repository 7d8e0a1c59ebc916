"""Questions about several numbered things at once, and which answer belongs to which thing.

Shared by the scorers that put several examples into one question.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from eval.scorers.base import AGAIN, together


@dataclass(frozen=True)
class MissingAnswer:
    """Stands where there is no answer."""

    reason: str


class NumberedAnswer(Protocol):
    """An answer to one thing of a question."""

    @property
    def number(self) -> int:
        """The number of the thing it is about, counted from 1."""
        ...


T = TypeVar("T")
N = TypeVar("N", bound=NumberedAnswer)

Asking = Callable[[Sequence[T], int], Awaitable[Sequence[N] | MissingAnswer]]
"""Asks about some things under an item number: the answers as they came, in any order and number."""


async def ask_in_batches(things: Sequence[T], size: int, ask: Asking[T, N]) -> list[N | MissingAnswer]:
    """The answer to each thing, asked about `size` at a time; what an answer leaves out is asked about once more."""
    batches = [things[start : start + size] for start in range(0, len(things), size)]
    answered = await together(_asked(batch, item, ask) for item, batch in enumerate(batches))
    return [answer for batch in answered for answer in batch]


async def _asked(batch: Sequence[T], item: int, ask: Asking[T, N]) -> list[N | MissingAnswer]:
    first = await ask(batch, item)
    if isinstance(first, MissingAnswer):
        return [first] * len(batch)  # whoever asks has tried often enough
    found = matched(first, len(batch))
    open_places = [place for place, answer in enumerate(found) if isinstance(answer, MissingAnswer)]
    if open_places:
        second = await ask([batch[place] for place in open_places], item + AGAIN)
        rest = [second] * len(open_places) if isinstance(second, MissingAnswer) else matched(second, len(open_places))
        for place, answer in zip(open_places, rest, strict=True):
            found[place] = answer
    return found


def matched(answers: Sequence[N], n: int) -> list[N | MissingAnswer]:
    """The one answer to each of n things. One number out of range makes all doubtful: they may be counted from 0."""
    stray = [answer.number for answer in answers if not 1 <= answer.number <= n]
    if stray:
        return [MissingAnswer(f"the answer speaks of number {stray[0]}, out of 1 to {n}")] * n
    times = Counter(answer.number for answer in answers)
    by_number = {answer.number: answer for answer in answers if times[answer.number] == 1}
    return [by_number.get(number) or MissingAnswer(_fault(times[number])) for number in range(1, n + 1)]


def _fault(times: int) -> str:
    return f"the answer speaks of it {times} times" if times else "the answer does not speak of it"
