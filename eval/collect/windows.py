"""Documents as batches of token ids: windows of one document each, of about the same length within a batch.

Short documents are padded on the right and never packed: a causal model's states do not depend on what follows, so no
attention mask is needed, in any family of models, and none can be wrong. What padding would cost is saved by sorting a
few thousand windows at a time by length.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import Bool, Int

from eval.collect.corpora import Document
from eval.errors import ExamplesError
from probes.model.structure import max_positions
from probes.subject import Subject, first_ids
from probes.tokenizer.special_tokens import special_ids

_SORTED = 4096
"""Windows that are sorted by length at a time."""
_TOKENISED = 256
"""Documents that are tokenised at a time."""


@dataclass(frozen=True)
class Window:
    """Part of a document, as token ids without anything in front."""

    document: str
    start: int
    """Place of the first token in the document."""
    ids: Sequence[int]


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """Windows beside each other, the longest first; each begins with what `first_ids` puts in front of texts."""

    first: int
    """Windows of the corpus that stand in batches before this one."""
    documents: Sequence[str]
    starts: Int[np.ndarray, " batch"]
    """Place of each window's first token, what stands in front left out, in its document."""
    lengths: Int[np.ndarray, " batch"]
    """Tokens of each window, what stands in front left out."""
    lead: int
    """Tokens in front of every window: 1 for a BOS, 0 for nothing."""
    ids: Int[np.ndarray, "batch pos"]
    counted: Bool[np.ndarray, "batch pos"]
    """Neither what stands in front nor another special token nor padding."""

    @property
    def n_tokens(self) -> int:
        """Tokens that count."""
        return int(self.counted.sum())

    def width(self, rows: slice) -> int:
        """Positions that the longest of some rows takes, which is the first of them."""
        return self.lead + int(self.lengths[rows.start])

    def slices(self, n_tokens: int) -> Iterator[slice]:
        """Rows that together have at most `n_tokens` when padded to the longest among them, or one row."""
        start = 0
        while start < len(self.ids):
            end = min(len(self.ids), start + max(1, n_tokens // self.width(slice(start, None))))
            yield slice(start, end)
            start = end


class WindowCutter:
    """Cuts documents into windows for one subject, counting what it has read."""

    def __init__(self, subject: Subject, context: int, batch_tokens: int) -> None:
        """`context` tokens in a window, those in front with them. Raises ExamplesError where the model takes fewer."""
        longest = max_positions(subject.model)
        if longest is not None and context > longest:
            raise ExamplesError(
                f"Windows of {context} tokens are too long: {subject.card.model} takes up to {longest}."
            )
        self.n_documents = 0
        self._tokenizer = subject.tokenizer
        self._vocab = subject.card.vocab
        self._front = first_ids(subject)
        self._length = context - len(self._front)
        self._batch_tokens = batch_tokens
        self._special = np.zeros(self._vocab, dtype=bool)
        self._special[[i for i in special_ids(subject.tokenizer) if i < self._vocab]] = True
        self._pad = subject.tokenizer.pad_token_id or 0

    def batches(self, documents: Iterable[Document], n_tokens: int) -> Iterator[WindowBatch]:
        """Batches of about `batch_tokens` tokens, until `n_tokens` are read or the documents end."""
        windows, n_before = _up_to(self._windows(iter(documents)), n_tokens), 0
        while gathered := sorted(islice(windows, _SORTED), key=lambda w: -len(w.ids)):
            start = 0
            while start < len(gathered):
                end = start + max(1, self._batch_tokens // (len(self._front) + len(gathered[start].ids)))
                yield self._batch(n_before + start, gathered[start:end])
                start = end
            n_before += len(gathered)

    def _windows(self, documents: Iterator[Document]) -> Iterator[Window]:
        while some := list(islice(documents, _TOKENISED)):
            encoded = self._tokenizer([d.text for d in some], add_special_tokens=False, verbose=False)["input_ids"]
            for document, ids in zip(some, encoded, strict=True):
                self.n_documents += 1
                name = document.id
                for start in range(0, len(ids), self._length):
                    yield Window(name, start, ids[start : start + self._length])

    def _batch(self, first: int, windows: Sequence[Window]) -> WindowBatch:
        lead = len(self._front)
        lengths = np.array([len(window.ids) for window in windows])
        ids = np.full((len(windows), lead + lengths.max()), self._pad, dtype=np.int64)
        ids[:, :lead] = self._front
        counted = np.arange(ids.shape[1]) < lead + lengths[:, None]
        counted[:, :lead] = False
        ids[counted] = np.concatenate([window.ids for window in windows])
        if (highest := int(ids.max())) >= self._vocab:
            raise ExamplesError(
                f"The tokenizer gives token {highest}, but the model knows only {self._vocab}; they do not belong "
                "together."
            )
        counted &= ~self._special[ids]
        starts = np.array([window.start for window in windows])
        return WindowBatch(first, [window.document for window in windows], starts, lengths, lead, ids, counted)


def _up_to(windows: Iterator[Window], n_tokens: int) -> Iterator[Window]:
    """The windows until they hold `n_tokens`, the last one cut to that."""
    left = n_tokens
    for window in windows:
        yield Window(window.document, window.start, window.ids[:left])
        left -= len(window.ids)
        if left <= 0:
            return
