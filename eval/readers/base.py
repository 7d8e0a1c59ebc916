"""The protocol of readers of example files: what is asked of a file, what comes back, and its faults."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from probes.examples import FeatureExamples

_MOST_FAULTS = 100


@dataclass(frozen=True)
class Vocabulary:
    """The subject's token ids as text."""

    size: int
    text_of: Callable[[int], str]
    special_ids: frozenset[int] = frozenset()
    """Tokens that are no text (start, end, padding): what a feature does on them does not count."""


@dataclass(frozen=True)
class ReadRequest:
    """A caller's request to a reader."""

    features: Collection[int] | None = None
    """None for all there are."""
    vocabulary: Vocabulary | None = None
    """Only formats that store token ids need it."""
    seed: int = 0
    """For formats that hold more than is kept."""

    def wants(self, feature: int) -> bool:
        """Tells whether this feature was asked for."""
        return self.features is None or feature in self.features


Unit = Literal["sae", "length"]
"""Of activations: the SAE's own as its files have it, or that times the length of the feature's decoder row, which is
what an SAE gives whose decoder rows were brought to length 1."""


@dataclass(frozen=True)
class ReadResult:
    """The records that could be read, with the faults of the rest."""

    source: str
    """A short name for the log: the format, and which model and SAE by the files' own account."""
    features: dict[int, FeatureExamples]
    """Activations as the files have them."""
    n_records: int
    """Records read, those of features that were not asked for among them."""
    faults: tuple[str, ...] = ()
    """One sentence for each line, record or file that could not be read: where, and why. The rest is kept."""
    unit: Unit = "sae"
    """Of the activations, as those who write the format mostly have it; `eval.collect.units` finds out."""


class Reader(Protocol):
    """One format. The modules in this folder that the table in `eval.readers` names are readers."""

    def recognises(self, file: Path) -> bool:
        """Tells whether this one file looks like the format; never raises for what it holds."""
        ...

    def read(self, path: Path, wanted: ReadRequest) -> ReadResult:
        """Reads `path`, a file or folder of the format. Raises ExamplesError if nothing at all can be read."""
        ...


class RecordError(Exception):
    """One record cannot be used; `str` says why, without saying where. Never leaves a reader."""


class RecordFaults:
    """Sentences on what could not be read, the first hundred; later ones are counted."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._left_out = 0

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """A RecordError raised within is noted with its place, and the record left out."""
        try:
            yield
        except RecordError as fault:
            self.add(f"{where}: {fault}.")

    def add(self, sentence: str) -> None:
        """Notes one sentence."""
        if len(self._sentences) < _MOST_FAULTS:
            self._sentences.append(sentence)
        else:
            self._left_out += 1

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that were kept, and how many were not."""
        more = [f"{self._left_out:,} more faults of this kind are not listed."] if self._left_out else []
        return (*self._sentences, *more)
