"""The texts that a feature's labels are scored on, drawn once for all of its labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from agent.config import ScoreSettings
from agent.evidence.shown_examples import cut, key_of
from eval.collect.split import on_new_words, without_duplicates
from eval.scorers.base import Score, Scorer, ScoringTask, Variant, drawn, unscored
from probes.examples import Example, FeatureExamples


@dataclass(frozen=True)
class CandidateLabel:
    """Words that are scored as if they were the feature's label."""

    label: str


@dataclass(frozen=True)
class ScoringExamples:
    """A feature's texts, as they are scored on."""

    shown: Sequence[Example]
    """What an explainer may have seen; nothing is scored on it."""
    activating: Sequence[Example]
    negatives: Sequence[Example]
    neighbours: Mapping[int, Sequence[Example]]
    on_old_words: frozenset[str]
    """Keys of the activating texts that peak on a word on which a shown one peaks too."""
    on_new_words: frozenset[str]
    """Keys of the others."""
    matched: Mapping[int, Sequence[Example]] = field(default_factory=dict)
    """Held-out activating examples of features that activate about as often; for scorers that read no label."""

    @classmethod
    def of(
        cls,
        held_out: Sequence[Example],
        shown: Sequence[Example],
        settings: ScoreSettings,
        seed: int,
        elsewhere: Sequence[Example] = (),
    ) -> "ScoringExamples":
        """Near-duplicates of shown texts, and of each other, are left out; the rest is drawn by the seed.

        `elsewhere`: activating texts of another corpus that an explainer may have seen.
        """
        seen = [*shown, *elsewhere]
        activating = [example for example in held_out if example.kind == "activating"]
        distinct = without_duplicates([*seen, *activating])[len(without_duplicates(seen)) :]
        rng = np.random.default_rng(seed)
        activating = drawn(distinct, settings.texts, rng)
        non_activating = [example for example in held_out if example.kind in settings.negatives]
        neighbours = [example for example in held_out if example.neighbour is not None]
        new = frozenset(key_of(cut(example)) for example in on_new_words(activating, seen))
        return cls(
            shown=shown,
            activating=activating,
            negatives=[_without_activations(example) for example in drawn(non_activating, settings.texts, rng)],
            neighbours={n: [e for e in neighbours if e.neighbour == n] for n in _neighbours(neighbours)},
            on_old_words=frozenset(key_of(cut(example)) for example in activating) - new,
            on_new_words=new,
        )

    def task(
        self, feature: int, variant: Variant, claim: CandidateLabel, found: FeatureExamples, seed: int
    ) -> ScoringTask:
        """Returns the task of a scorer."""
        return ScoringTask(
            feature=feature,
            label=claim.label,
            variant=variant,
            activating=self.activating,
            negatives=self.negatives,
            neighbours=self.neighbours,
            matched=self.matched,
            maximum=found.activity.maximum if found.activity else None,
            seed=seed,
        )

    def on_new(self, scorer: Scorer, score: Score, task: ScoringTask) -> Score | None:
        """Returns the part of a score that rests on new words; None if it does not rest on these texts at all."""
        found = {_example_key(item.key) for item in score.items}
        if found.isdisjoint(self.on_old_words | self.on_new_words):
            return None
        if found.isdisjoint(self.on_new_words):
            return unscored(scorer.name, score.metric, "every held-out text peaks on a word that a shown text has")
        return scorer.of_items([item for item in score.items if _example_key(item.key) not in self.on_old_words], task)


def _without_activations(example: Example) -> Example:
    """The example with this feature's own activations: none."""
    return replace(example, activations=(0.0,) * len(example.tokens))


def _neighbours(examples: Sequence[Example]) -> list[int]:
    return sorted({example.neighbour for example in examples if example.neighbour is not None})


def _example_key(key: str) -> str:
    """The example's part of an item's key."""
    return key.removesuffix(" right").removesuffix(" wrong")
