"""A feature's held-out texts as settings are measured on them: which tokens activate, and a vector of each text.

Knows the log's examples and an embedder; no settings and no measure.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from agent.log.examples import examples_of
from agent.log.run_log import RunLog
from eval.collect.split import without_duplicates
from eval.scorers.base import Embedder
from probes.examples import Activity, ExampleKind

NOT_COLLECTED = "no examples were collected of this feature"


@dataclass(frozen=True, eq=False)
class HeldOutExamples:
    """A feature's held-out examples and their negatives. If something is missing, `reason` says why."""

    feature: int
    token_ids: tuple[int, ...] = ()
    """Every token of the texts on which it activates."""
    activates: tuple[bool, ...] = ()
    """Whether it activates on each of them."""
    vectors: Float[np.ndarray, "n d"] | None = None
    """Of all texts."""
    activating: tuple[bool, ...] = ()
    """Whether it activates on each of those."""
    reason: str = ""
    """Why there are no texts at all."""
    no_ids: str = ""
    """Why there are no tokens."""


def held_out_examples(
    log: RunLog, corpus_id: int, feature: int, negatives: Collection[ExampleKind], embedder: Embedder
) -> HeldOutExamples:
    """The held-out texts of a feature, near-duplicates left out, and as `negatives` those on which it is not active."""
    found = log.read(examples_of, corpus_id, feature, "held_out", ["activating", *negatives])
    if found is None:
        return HeldOutExamples(feature, reason=NOT_COLLECTED)
    if reason := _dead(found.activity):
        return HeldOutExamples(feature, reason=reason)
    activating = without_duplicates(example for example in found.examples if example.kind == "activating")
    non_activating = without_duplicates(example for example in found.examples if example.kind != "activating")
    if not activating:
        return HeldOutExamples(feature, reason="no held-out activating example")
    with_ids = [example for example in activating if example.token_ids is not None]
    return HeldOutExamples(
        feature=feature,
        token_ids=tuple(id for example in with_ids for id in example.token_ids or ()),
        activates=tuple(activation > 0 for example in with_ids for activation in example.activations),
        vectors=embedder.encode([example.text for example in (*activating, *non_activating)]),
        activating=(True,) * len(activating) + (False,) * len(non_activating),
        no_ids="" if with_ids else "the texts came without the subject's own tokens",
    )


def _dead(activity: Activity | None) -> str:
    """Says why a feature without any activity has no examples."""
    if activity is None or activity.n_active:
        return ""
    return f"never active in {activity.n_tokens:,} tokens"
