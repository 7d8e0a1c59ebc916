"""Holds what lives in a worker: a subject that is loaded once, and functions that are called on it.

PyTorch is imported with the subject, in the worker.
"""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from probes.presets import SubjectCard, SubjectSource


@dataclass(frozen=True)
class Loaded:
    """The subject that a worker holds; workers give the same evidence only if all but the device is the same."""

    fingerprint: str
    """Of the subject's files."""
    dtype: str
    version: str
    """Of this package."""
    device: str


def loaded_from(card: SubjectCard) -> Loaded:
    """Returns what a process holds that has loaded the subject of this card."""
    return Loaded(card.fingerprint, card.dtype, version("sae-interpret"), card.device)


class NothingLoadedError(Exception):
    """The worker began anew and has no subject yet."""


class Resident:
    """A subject in a worker."""

    def __init__(self, n_threads: int | None = None, in_cluster: bool = False) -> None:
        """`n_threads` are PyTorch's on the CPU; None leaves them as they are. In a cluster a device is named with its
        machine."""
        self._n_threads = n_threads
        self._in_cluster = in_cluster
        self._subject: Any = None

    def load(self, source: SubjectSource) -> Loaded:
        """Loads the subject. Raises SubjectError."""
        import torch

        from probes.subject import load_subject

        if self._n_threads is not None:
            torch.set_num_threads(self._n_threads)
        self._subject = load_subject(source)
        if self._in_cluster:
            here = {"device": _named_in_cluster(self._subject.card.device)}
            self._subject = replace(self._subject, card=self._subject.card.model_copy(update=here))
        return loaded_from(self._subject.card)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns `function(subject, *arguments)`. Raises what it raises, and NothingLoadedError."""
        if self._subject is None:
            raise NothingLoadedError
        return function(self._subject, *arguments)

    def process_id(self) -> int:
        """Returns the worker's process id."""
        return os.getpid()


def _named_in_cluster(device: str) -> str:
    """Returns a device's name with its machine's, by the number that it has there and not among those that are seen."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
    return f"{socket.gethostname()}/{f'cuda:{seen}' if device.startswith('cuda') and seen.isdigit() else device}"
