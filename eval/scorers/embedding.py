"""Embedding: are texts on which the feature activates more similar to its label than others?

After Paulo et al. 2024 (arXiv 2410.13928). The cheapest scorer and the coarsest: no language model is asked, and a text
counts as a whole.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from agent.evidence.shown_examples import cut, key_of
from eval.metrics import auroc
from eval.scorers.base import Embedder, Need, Score, ScoredItem, ScoringTask, lacking, scored, unscored
from probes.examples import Example

METRIC = "auroc"


@dataclass(frozen=True)
class Embedding:
    """AUROC of the cosine between label and text."""

    name: ClassVar[str] = "embedding"
    needs: ClassVar[frozenset[Need]] = frozenset({"embedder"})
    template: ClassVar[str] = ""
    reads_label: ClassVar[bool] = True

    embedder: Embedder

    async def score(self, task: ScoringTask) -> Score:
        """Texts and labels without a direction of their own are unscored."""
        if reason := lacking(task):
            return unscored(self.name, METRIC, reason)
        examples = [cut(example) for example in (*task.activating, *task.negatives)]
        texts = [task.label, *(example.text for example in examples)]
        label, *vectors = _unit(await asyncio.to_thread(self.embedder.encode, texts))
        if np.isnan(label).any():
            return unscored(self.name, METRIC, "the label has no embedding")
        items = [_item(example, float(vector @ label)) for example, vector in zip(examples, vectors, strict=True)]
        return self.of_items(items, task)

    def of_items(self, items: Sequence[ScoredItem], _task: ScoringTask) -> Score:
        """Over the texts that are among them."""
        answered = [(bool(item.truth), item.prediction) for item in items if isinstance(item.prediction, float)]
        estimate = auroc([truth for truth, _ in answered], [similarity for _, similarity in answered])
        return scored(self.name, METRIC, estimate, items)


def _unit(vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Vectors of length 1; NaN where they have no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(vectors, lengths, out=np.full_like(vectors, np.nan), where=lengths > 0)
    return unit


def _item(example: Example, similarity: float) -> ScoredItem:
    truth = example.kind == "activating"
    if np.isnan(similarity):
        return ScoredItem(key_of(example), example.text, truth, None, "the text has no embedding")
    return ScoredItem(key_of(example), example.text, truth, similarity)
