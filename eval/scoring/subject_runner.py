"""The subject as what runs texts for a scorer: one thread owns the device."""

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from types import TracebackType
from typing import Self

from probes.activations import text_activations
from probes.subject import Subject
from probes.token_change import token_changes_with_controls

KEPT = 1024
"""Features whose raised tokens are kept: those that are being scored at once."""


class SubjectRunner:
    """Measures a feature on texts; a context, so that its thread ends."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._raised = lru_cache(KEPT)(partial(token_changes_with_controls, subject))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="subject")

    async def raised(self, feature: int, maximum: float, n_others: int, seed: int) -> Sequence[Sequence[str]]:
        """Returns the tokens that the feature raises, then random others' tokens; made once for all labels of a
        feature.
        """
        arguments = (feature, maximum, n_others, seed)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._raised, *arguments)

    async def peaks(self, feature: int, texts: Sequence[str]) -> list[float]:
        """The feature's highest activation on each text, special tokens left out; NaN for a text without a token."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._peaks, feature, texts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _peaks(self, feature: int, texts: Sequence[str]) -> list[float]:
        found = text_activations(self._subject, [feature] * len(texts), texts)
        return [max(one.activations, default=math.nan) for one in found]
