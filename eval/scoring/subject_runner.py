"""The subject as what runs texts for a scorer: one thread owns the device. Knows no scorer and no label."""

import asyncio
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from types import TracebackType
from typing import Self

import torch

from probes.activations import feature_activations
from probes.columns import Columns
from probes.raised import raised_beside_others
from probes.special_tokens import first_ids, special_ids
from probes.subject import Subject

KEPT = 1024
"""Features whose raised tokens are kept: those that are being scored at once."""
MOST_TOKENS = 256
"""Of a text, what is longer is cut."""


class SubjectRunner:
    """Measures a feature on texts; a context, so that its thread ends."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._front = first_ids(subject)
        self._special = special_ids(subject.tokenizer)
        self._raised = lru_cache(KEPT)(partial(raised_beside_others, subject))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="subject")

    async def raised(self, feature: int, maximum: float, n_others: int, seed: int) -> Sequence[Sequence[str]]:
        """What the feature raises, then random others; made once for all labels of a feature."""
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
        columns = Columns(self._subject.sae, [feature])
        return [self._peak(columns, text) for text in texts]

    def _peak(self, columns: Columns, text: str) -> float:
        # tokens of turns and ends that a text spells out stay text
        ids = self._subject.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)[:MOST_TOKENS]
        if not ids:
            return math.nan
        found = feature_activations(self._subject, columns, torch.tensor([[*self._front, *ids]]))
        counted = [found[0, len(self._front) + place, 0] for place, i in enumerate(ids) if i not in self._special]
        return float(torch.stack(counted).max()) if counted else math.nan
