"""One thread that owns the loaded subject: nothing of torch runs on the event loop, and one thing at a time.

Knows no requests, no log and no page.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from probes.evidence import Evidence, ProbeRequest
from probes.presets import SubjectCard
from probes.settings import ProbeKind, ProbeSettings, TreeSettings

if TYPE_CHECKING:  # the server imports torch with a subject only
    from probes.subject import Subject

T = TypeVar("T")

_LISTS: tuple[ProbeKind, ...] = ("tokens", "projection")
COARSE_CUTOFFS = (1e-2, 1e-3)
"""At which a tree is grown before the one that is asked for: each takes a fraction of the next one's time."""


class Device:
    """Probes of one subject."""

    def __init__(self, subject: "Subject") -> None:
        self._subject = subject
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explore")

    @property
    def card(self) -> SubjectCard:
        """Of the subject."""
        return self._subject.card

    async def growing(self, feature: int, settings: ProbeSettings) -> AsyncIterator[Evidence]:
        """Token list, projection, and the tree at falling cutoffs; compared with random directions last, where asked.

        Where something of the vector is to be found, the sweep that finds it comes first, once for all. Whoever stops
        iterating frees the device as soon as the step that it works on is done.
        """
        if settings.vector.is_auto:
            swept = await self._probe(ProbeRequest("sweep", feature, settings))
            yield swept
            settings = settings.model_copy(update={"vector": swept.settings.vector})
        for kind in _LISTS:
            yield await self._probe(ProbeRequest(kind, feature, settings))
        for tree in _steps(settings.tree):
            yield await self._probe(ProbeRequest("tree", feature, settings.model_copy(update={"tree": tree})))

    async def all_of(self, feature: int, settings: ProbeSettings) -> list[Evidence]:
        """Tree, token list and projection."""
        requests = [ProbeRequest(kind, feature, settings) for kind in ("tree", *_LISTS)]
        return await self._on_thread(lambda: _run(self._subject, requests))

    async def nearest(self, feature: int, k: int) -> list[int]:
        """The `k` features of most similar decoder direction, the nearest first."""
        return await self._on_thread(lambda: _nearest(self._subject, feature, k))

    async def _probe(self, request: ProbeRequest) -> Evidence:
        return (await self._on_thread(lambda: _run(self._subject, [request])))[0]

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _steps(asked: TreeSettings) -> list[TreeSettings]:
    """Settings that each take a fraction of the next one's time; the last are those asked for."""
    plain = asked.model_copy(update={"contrast": None})
    coarse = [plain.model_copy(update={"cutoff": cutoff}) for cutoff in COARSE_CUTOFFS if cutoff > asked.cutoff]
    return [*coarse, plain] if asked.contrast is None else [*coarse, plain, asked]


def _run(subject: "Subject", requests: Sequence[ProbeRequest]) -> list[Evidence]:
    from probes.probe import run_probes

    return run_probes(subject, requests)


def _nearest(subject: "Subject", feature: int, k: int) -> list[int]:
    from eval.collect.negatives import nearest

    return nearest(subject.sae, [feature], k)[feature]


@cache
def device_of(subject: "Subject") -> Device:
    """The one device of a subject, whichever page asks."""
    return Device(subject)
