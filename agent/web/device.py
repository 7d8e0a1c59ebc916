"""One thread that owns a loaded model: nothing of torch runs on the event loop, and one thing at a time."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from probes.evidence import Evidence, ProbeRequest, Tree
from probes.presets import SubjectCard
from probes.settings import ProbeKind, ProbeSettings, TreeSettings

if TYPE_CHECKING:  # the server imports torch with a subject only
    from eval.collect.typed import TypedText
    from probes.subject import Subject

T = TypeVar("T")

_LISTS: tuple[ProbeKind, ...] = ("tokens", "projection")
LEVELS = (1, 2, 4, 8)
"""Depths to which a tree is grown before all of it is: a few levels take a fraction of the whole tree's time."""
COARSE_CUTOFF = 1e-3
"""Of these first trees, where the one that is asked for goes further: what is less probable would hardly be seen."""
_REMEMBERED = 64
"""Questions whose answers are kept, so that going back, keeping and drawing a file compute nothing again."""


class Device:
    """Probes one subject, one request at a time."""

    def __init__(self, subject: "Subject") -> None:
        self._subject = subject
        self._thread = _thread_of(subject.model)
        self._answers: OrderedDict[tuple[int, ProbeSettings], Sequence[Evidence]] = OrderedDict()

    @property
    def card(self) -> SubjectCard:
        """Returns the subject's card."""
        return self._subject.card

    async def growing(self, feature: int, settings: ProbeSettings) -> AsyncIterator[Evidence]:
        """Token list, projection, and the tree level by level; compared with random directions last, where asked.

        Where something of the vector is to be found, the sweep that finds it comes first, once for all. Whoever stops
        iterating frees the device as soon as the step that it works on is done.
        """
        known = self._answers.get((feature, settings))
        if known is not None:
            self._answers.move_to_end((feature, settings))
            for piece in known:
                yield piece
            return
        found: list[Evidence] = []
        async for piece in self._grown(feature, settings):
            found = [one for one in found if not (isinstance(one, Tree) and isinstance(piece, Tree))] + [piece]
            yield piece
        self._answers[feature, settings] = found
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

    async def all_of(self, feature: int, settings: ProbeSettings) -> Sequence[Evidence]:
        """Returns the evidence at the end of `growing`: a sweep if there is one, token list, projection and the whole
        tree.
        """
        found = self._answers.get((feature, settings))
        if found is None:
            async for _ in self.growing(feature, settings):
                pass
            found = self._answers[feature, settings]
        return found

    async def nearest(self, feature: int, k: int) -> list[int]:
        """Returns the `k` features of most similar decoder direction, the nearest first."""
        return await self.on_thread(lambda: _nearest(self._subject, feature, k))

    async def read(self, feature: int, text: str) -> "TypedText":
        """Returns the feature's activations on a text. Raises FeatureError and ExamplesError."""
        return await self.on_thread(lambda: _read(self._subject, feature, text))

    async def _grown(self, feature: int, settings: ProbeSettings) -> AsyncIterator[Evidence]:
        if settings.vector.is_auto:
            swept = await self._probe(ProbeRequest("sweep", feature, settings))
            yield swept
            settings = settings.model_copy(update={"vector": swept.settings.vector})
        for kind in _LISTS:
            yield await self._probe(ProbeRequest(kind, feature, settings))
        for tree in _steps(settings.tree):
            yield await self._probe(ProbeRequest("tree", feature, settings.model_copy(update={"tree": tree})))

    async def _probe(self, request: ProbeRequest) -> Evidence:
        return (await self.on_thread(lambda: _run(self._subject, [request])))[0]

    async def on_thread(self, work: Callable[[], T]) -> T:
        """Does `work` while nothing else is done with the model."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _steps(asked: TreeSettings) -> list[TreeSettings]:
    """Returns settings that each take a fraction of the next one's time; the last are those asked for."""
    plain = asked.model_copy(update={"contrast": None})
    coarse = plain.model_copy(update={"cutoff": max(COARSE_CUTOFF, asked.cutoff)})
    levels = [coarse.model_copy(update={"max_depth": depth}) for depth in LEVELS if depth < asked.max_depth]
    return list(dict.fromkeys([*levels, coarse, plain, asked]))


def _run(subject: "Subject", requests: Sequence[ProbeRequest]) -> list[Evidence]:
    from probes.probe import run_probes

    return run_probes(subject, requests)


def _nearest(subject: "Subject", feature: int, k: int) -> list[int]:
    from eval.collect.negatives import nearest

    return nearest(subject.sae, [feature], k)[feature]


def _read(subject: "Subject", feature: int, text: str) -> "TypedText":
    from eval.collect.typed import read_typed

    return read_typed(subject, feature, text)


@cache
def device_of(subject: "Subject") -> Device:
    """Returns the one device of a subject, shared by all pages."""
    return Device(subject)


@cache
def _thread_of(model: Hashable) -> ThreadPoolExecutor:  # noqa: ARG001, one for each
    """Returns the one thread of a model, shared by all SAEs that read it."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="explore")
