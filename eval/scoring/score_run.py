"""Scores a run's labels: each label and its controls, by each scorer, on the same held-out texts, all of it logged.

What cannot be scored has a row that says why. Knows no provider and no command line.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from agent.calls.admission import Admission
from agent.calls.workers import work_through
from agent.config import ScoreSettings
from agent.evidence.excerpts import cut, key_of
from agent.loop import PURPOSE
from agent.runlog import CallRow, LabelRow, RunLog, ScoreRow
from eval.collect.split import on_new_words, without_duplicates
from eval.scorers.base import Item, Judge, Score, Scorer, Task, Variant, drawn, unscored
from eval.scoring.controls import one_shot_question, shuffled, top_tokens, top_tokens_label
from probes.errors import InterpretError
from probes.examples import Collected, Example

HELD_OUT, NEW_WORDS = "held_out", "new_words"
"""The part of the held-out texts that a score rests on: all, or those that peak on words of no shown text."""


@dataclass(frozen=True)
class Claim:
    """Words that are scored as if they were the feature's label."""

    label: str
    explanation: str = ""


class ScoreWatch(Protocol):
    """Who is told how a scoring goes."""

    def told(self, row: LabelRow) -> None:
        """Each feature whose scores are in the log."""
        ...

    def stopping(self, reason: InterpretError) -> None:
        """Nothing new is started from here on."""
        ...


@dataclass(frozen=True)
class Scoring:
    """What all features of a scoring are scored through."""

    log: RunLog
    scoring_id: int
    corpus_id: int
    scorers: Sequence[Scorer]
    judge: Judge | None
    """Makes the one-shot labels; without one there are none."""
    settings: ScoreSettings
    seed: int
    admission: Admission
    """The door that the judge's calls go through; it knows why a scoring ended early."""
    concepts: Mapping[int, str]
    """What is known of the features; only the embedded subject has such."""

    async def score(
        self,
        rows: Sequence[LabelRow],
        concurrency: int,
        watch: ScoreWatch,
    ) -> None:
        """Scores what has no score yet; what ends it early lets the calls in flight end and is `admission.reason`."""
        done = {_key(score) for score in self.log.scores(self.scoring_id) if score.value is not None}
        donors = self._donors(rows)

        async def score(row: LabelRow) -> None:
            await self._feature(row, donors, done)
            watch.told(row)

        await work_through(rows, concurrency, score, self.admission, watch.stopping)

    def _donors(self, rows: Sequence[LabelRow]) -> dict[int, Claim]:
        """Another feature's label for each."""
        labelled = {row.feature: row for row in rows if row.status == "labelled"}
        labels = {feature: row.label for feature, row in labelled.items()}
        pairs = shuffled(labels, self.concepts, self.seed)
        return {here: Claim(labelled[there].label, labelled[there].explanation) for here, there in pairs.items()}

    async def _feature(self, row: LabelRow, donors: Mapping[int, Claim], done: set[tuple[int, str, str]]) -> None:
        found = self.log.collected(self.corpus_id, row.feature)
        reason = why_not(row, found)
        if reason is not None or found is None:
            nothing = [unscored(scorer.name, "", reason or "") for scorer in self.scorers]
            await self._keep([_row(row, "label", row.label, score, HELD_OUT) for score in nothing])
            return
        sides = self._sides(found)
        async for variant, claim in self._claims(row, found, sides, donors):
            for scorer in self.scorers:
                if (row.label_id, scorer.name, variant) not in done:
                    await self._scored(scorer, row, variant, claim, found, sides)

    def _sides(self, found: Collected) -> "Sides":
        held_out = self.log.collected(self.corpus_id, found.feature, "held_out")
        shown = self.log.collected(self.corpus_id, found.feature, "shown", ["activating"])
        return Sides.of(held_out, shown, self.settings, self.seed)

    async def _claims(
        self, row: LabelRow, found: Collected, sides: "Sides", donors: Mapping[int, Claim]
    ) -> AsyncIterator[tuple[Variant, Claim]]:
        yield "label", Claim(row.label, row.explanation)
        first = _first_proposed(self.log.calls_of(row.run_id, row.feature))
        if first is not None and " ".join(first.label.split()) != row.label:
            yield "first", first
        if row.feature in donors:
            yield "shuffled", donors[row.feature]
        tokens = top_tokens_label(top_tokens(sides.shown))
        if tokens:
            yield "tokens", Claim(tokens)
        if self.judge is not None and sides.shown:
            reply = await self.judge.ask(one_shot_question(row.feature, sides.shown))
            if reply.value is not None:
                yield "one_shot", Claim(reply.value.label, reply.value.explanation)
        if found.baselines:
            yield "baseline", Claim(found.baselines[0].text)
        if row.feature in self.concepts:
            yield "known", Claim(self.concepts[row.feature])

    async def _scored(
        self, scorer: Scorer, row: LabelRow, variant: Variant, claim: Claim, found: Collected, sides: "Sides"
    ) -> None:
        task = sides.task(row.feature, variant, claim, found, self.seed)
        score = await scorer.score(task)
        kept = [_row(row, variant, claim.label, score, HELD_OUT)]
        on_new = sides.on_new(scorer, score, task)
        if on_new is not None:
            kept.append(_row(row, variant, claim.label, on_new, NEW_WORDS))
        await self._keep(kept)

    async def _keep(self, kept: Sequence[ScoreRow]) -> None:
        await asyncio.wrap_future(self.log.add_scores(self.scoring_id, kept))


@dataclass(frozen=True)
class Sides:
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

    @classmethod
    def of(cls, held_out: Collected | None, shown: Collected | None, settings: ScoreSettings, seed: int) -> "Sides":
        """Near-duplicates of shown texts, and of each other, are left out; the rest is drawn by the seed."""
        seen = [] if shown is None else [*shown.examples]
        texts = [] if held_out is None else [*held_out.examples]
        firing = [example for example in texts if example.kind == "activating"]
        distinct = without_duplicates([*seen, *firing])[len(without_duplicates(seen)) :]
        rng = np.random.default_rng(seed)
        activating = drawn(distinct, settings.texts, rng)
        silent = [example for example in texts if example.kind in settings.negatives]
        neighbours = [example for example in texts if example.neighbour is not None]
        new = frozenset(key_of(cut(example)) for example in on_new_words(activating, seen))
        return cls(
            shown=seen,
            activating=activating,
            negatives=[_silenced(example) for example in drawn(silent, settings.texts, rng)],
            neighbours={n: [e for e in neighbours if e.neighbour == n] for n in _neighbours(neighbours)},
            on_old_words=frozenset(key_of(cut(example)) for example in activating) - new,
            on_new_words=new,
        )

    def task(self, feature: int, variant: Variant, claim: Claim, found: Collected, seed: int) -> Task:
        """What a scorer is given."""
        return Task(
            feature=feature,
            label=claim.label,
            explanation=claim.explanation,
            variant=variant,
            activating=self.activating,
            negatives=self.negatives,
            neighbours=self.neighbours,
            maximum=found.activity.maximum if found.activity else None,
            seed=seed,
        )

    def on_new(self, scorer: Scorer, score: Score, task: Task) -> Score | None:
        """What of a score rests on new words; None where it does not rest on these texts at all."""
        found = {_example_key(item.key) for item in score.items}
        if found.isdisjoint(self.on_old_words | self.on_new_words):
            return None
        if found.isdisjoint(self.on_new_words):
            return unscored(scorer.name, score.metric, "every held-out text peaks on a word on which a shown one does")
        return scorer.of_items([item for item in score.items if _example_key(item.key) not in self.on_old_words], task)


def _first_proposed(calls: Sequence[CallRow]) -> Claim | None:
    """The first label that the explainer proposed, before it knew how that did."""
    answers = (call.answer for call in calls if call.purpose == PURPOSE and call.scoring_id is None)
    labels = (answer for answer in answers if answer is not None and answer.get("action") == "label")
    return next((Claim(answer["label"], answer.get("explanation", "")) for answer in labels), None)


def why_not(row: LabelRow, found: Collected | None) -> str | None:
    """Why a feature cannot be scored at all."""
    if row.status != "labelled":
        return f"no label: the explainer {row.status}" if row.status == "abstained" else "no label: the feature failed"
    if found is None:
        return "no examples were collected of this feature"
    if found.activity is not None and found.activity.n_active == 0:
        return f"never fired in {found.activity.n_tokens:,} tokens"
    return None


def _key(score: ScoreRow) -> tuple[int, str, str]:
    return score.label_id, score.scorer, score.variant


def _silenced(example: Example) -> Example:
    """The example with this feature's own activations: none."""
    return replace(example, activations=(0.0,) * len(example.tokens))


def _neighbours(examples: Sequence[Example]) -> list[int]:
    return sorted({example.neighbour for example in examples if example.neighbour is not None})


def _example_key(key: str) -> str:
    """The example's part of an item's key."""
    return key.removesuffix(" right").removesuffix(" wrong")


def _row(row: LabelRow, variant: str, label: str, score: Score, part: str) -> ScoreRow:
    return ScoreRow(
        label_id=row.label_id,
        feature=row.feature,
        scorer=score.scorer,
        variant=variant,
        part=part,
        label=label,
        metric=score.metric,
        value=score.value,
        reason=score.reason,
        low=score.low,
        high=score.high,
        n=score.n,
        extra=score.extra,
        items=[_item(item) for item in score.items] if part == HELD_OUT else [],
    )


def _item(item: Item) -> dict[str, object]:
    return {"key": item.key, "truth": item.truth, "prediction": item.prediction, "reason": item.reason}
