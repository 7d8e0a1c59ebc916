"""Scores a run's labels: each label and its controls, by each scorer, on the same held-out texts, all of it logged.

What cannot be scored has a row that says why.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from agent.calls.admission import Admission
from agent.calls.workers import Handle, work_through
from agent.config import ScoreSettings
from agent.log.calls import CallRow, calls_of
from agent.log.examples import examples_of
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.log.scores import ScoreRow, add_scores, scores_of
from agent.loop import PURPOSE
from eval.scorers.base import Judge, Score, ScoredItem, Scorer, Variant, needs_texts, unscored
from eval.scoring.controls import one_shot_question, shuffled, top_tokens, top_tokens_label
from eval.scoring.density import DensityIndex
from eval.scoring.prompted import PromptedExamples
from eval.scoring.scoring_examples import CandidateLabel, ScoringExamples
from eval.scoring.variants import proposes_again
from probes.errors import InterpretError
from probes.examples import FeatureExamples
from prompts import template_hashes

HELD_OUT, NEW_WORDS = "held_out", "new_words"
"""The part of the held-out texts that a score rests on: all, or those that peak on words of no shown text."""


MIXED: Variant = "mixed"
_NOTHING_SHOWN = "no text of the feature may be shown"

ScoreKey = tuple[int, str, str, str, str]
"""A label's id, a scorer, the hash of its template, a variant, and the words that were scored as it."""


class ScoringObserver(Protocol):
    """An observer of a scoring."""

    def told(self, row: LabelRow) -> None:
        """Each feature whose scores are in the log."""
        ...

    def stopping(self, reason: InterpretError) -> None:
        """Nothing new is started from here on."""
        ...


@dataclass(frozen=True)
class Scoring:
    """The tools and settings through which all features of a scoring are scored."""

    log: RunLog
    run: RunSummary
    scoring_id: int
    corpus_id: int | None
    """None where no scorer needs texts."""
    scorers: Sequence[Scorer]
    judge: Judge | None
    """Makes the one-shot labels; without one there are none."""
    settings: ScoreSettings
    seed: int
    admission: Admission
    """The door that the judge's calls go through; it knows why a scoring ended early."""
    concepts: Mapping[int, str]
    """What is known of the features; only the embedded subject has such."""
    nearest: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """Of features, those with the nearest decoder rows: too near to one for their examples to be told from its own."""

    async def score(
        self,
        rows: Sequence[LabelRow],
        concurrency: int,
        watch: ScoringObserver,
        at_work: Callable[[Handle[LabelRow]], Handle[LabelRow]] = lambda handle: handle,
    ) -> None:
        """Scores what has no score yet, or only one of some of its texts; what was answered about these is in the log.

        What ends it early lets the calls in flight end and is `admission.reason`.
        """
        done = {_key(score) for score in self.log.read(scores_of, self.scoring_id) if _is_whole(score)}
        donors = self._donors()
        density = self._density()

        async def score(row: LabelRow) -> None:
            await self._feature(row, donors, density, done)
            watch.told(row)

        await work_through(rows, concurrency, at_work(score), self.admission, watch.stopping)

    def _donors(self) -> dict[int, CandidateLabel]:
        """Another feature's label for each of the run's, whichever of them are scored now."""
        labels = {row.feature: row.label for row in self.log.read(labels_of, self.run.run_id, status="labelled")}
        pairs = shuffled(labels, self.concepts, self.seed)
        return {here: CandidateLabel(labels[there]) for here, there in pairs.items()}

    def _density(self) -> DensityIndex | None:
        """Returns how often features activate, where a scorer compares those that do so alike."""
        if self.corpus_id is None or all(scorer.reads_label for scorer in self.scorers):
            return None
        return DensityIndex.of(self.log, self.corpus_id)

    async def _feature(
        self,
        row: LabelRow,
        donors: Mapping[int, CandidateLabel],
        density: DensityIndex | None,
        done: Collection[ScoreKey],
    ) -> None:
        found = None if self.corpus_id is None else self.log.read(examples_of, self.corpus_id, row.feature)
        reasons = [(s, why_not(row, found, needs_texts(s), s.reads_label)) for s in self.scorers]
        await self._keep([_missing(s, row, main_variant(s, row), row.label, why) for s, why in reasons if why])
        able = [scorer for scorer, why in reasons if why is None]
        if not able:
            return
        found = found or FeatureExamples(row.feature, None)
        sides = self._sides(found)
        await self._labels([scorer for scorer in able if scorer.reads_label], row, found, sides, donors, done)
        if density is not None:
            near = {*sides.neighbours, *self.nearest.get(row.feature, ())}
            own = {example.document for example in found.examples if example.kind == "activating"}
            sides = replace(sides, matched=density.matched(row.feature, near, own))
            await self._itself([scorer for scorer in able if not scorer.reads_label], row, found, sides, done)

    async def _itself(
        self,
        able: Sequence[Scorer],
        row: LabelRow,
        found: FeatureExamples,
        sides: ScoringExamples,
        done: Collection[ScoreKey],
    ) -> None:
        """Scores a feature by its examples, whatever its label, and a mixture of other features' in its place."""
        for scorer in able:
            for variant in (main_variant(scorer, row), MIXED):
                if (row.label_id, scorer.name, _template_hash(scorer), variant, "") not in done:
                    await self._scored(scorer, row, variant, CandidateLabel(""), found, sides)

    async def _labels(
        self,
        able: Sequence[Scorer],
        row: LabelRow,
        found: FeatureExamples,
        sides: ScoringExamples,
        donors: Mapping[int, CandidateLabel],
        done: Collection[ScoreKey],
    ) -> None:
        """Scores a feature's label and those it must beat."""
        if not able:
            return
        async for variant, claim in self._claims(row, found, sides, donors):
            if isinstance(claim, str):
                await self._keep([_missing(scorer, row, variant, "", claim) for scorer in able])
                continue
            if variant in ("first", "before") and claim.label == row.label:
                await self._keep(self._as_label(row, variant))
                continue
            for scorer in able:
                if (row.label_id, scorer.name, _template_hash(scorer), variant, claim.label) not in done:
                    await self._scored(scorer, row, variant, claim, found, sides)

    def _as_label(self, row: LabelRow, variant: Variant) -> list[ScoreRow]:
        """The label's own scores, where an earlier label reads the same."""
        scores = self.log.read(scores_of, self.scoring_id, row.label_id)
        return [replace(score, variant=variant) for score in scores if score.variant == "label"]

    def _sides(self, found: FeatureExamples) -> ScoringExamples:
        if self.corpus_id is None:
            return ScoringExamples.of((), (), self.settings, self.seed)
        held_out = self.log.read(examples_of, self.corpus_id, found.feature, "held_out")
        shown = self.log.read(examples_of, self.corpus_id, found.feature, "shown", ["activating"])
        prompted = PromptedExamples.of(self.log, self.run, found.feature)
        unseen = prompted.less(held_out.examples if held_out else ())
        return ScoringExamples.of(unseen, shown.examples if shown else (), self.settings, self.seed, prompted.examples)

    async def _claims(
        self, row: LabelRow, found: FeatureExamples, sides: ScoringExamples, donors: Mapping[int, CandidateLabel]
    ) -> AsyncIterator[tuple[Variant, CandidateLabel | str]]:
        """Yields the labels to score for a feature; for a control that cannot be made, the reason."""
        yield "label", CandidateLabel(row.label)
        first = _first_proposed(self.log.read(calls_of, row.run_id, row.feature))
        if first is not None and proposes_again(self.run):
            yield "first", first
        if row.before is not None and row.before.label:
            yield "before", CandidateLabel(row.before.label)
        yield "shuffled", donors.get(row.feature, "no label of another feature can stand for it")
        tokens = top_tokens_label(top_tokens(sides.shown))
        yield "tokens", CandidateLabel(tokens) if tokens else _NOTHING_SHOWN
        if self.judge is not None:
            yield "one_shot", await self._one_shot(self.judge, row.feature, sides)
        if found.baselines:
            yield "baseline", CandidateLabel(found.baselines[0].text)
        if row.feature in self.concepts:
            yield "known", CandidateLabel(self.concepts[row.feature])

    async def _one_shot(self, judge: Judge, feature: int, sides: ScoringExamples) -> CandidateLabel | str:
        if not sides.shown:
            return _NOTHING_SHOWN
        reply = await judge.ask(one_shot_question(feature, sides.shown))
        return CandidateLabel(reply.value.label) if reply.value else reply.reason or "no answer"

    async def _scored(
        self,
        scorer: Scorer,
        row: LabelRow,
        variant: Variant,
        claim: CandidateLabel,
        found: FeatureExamples,
        sides: ScoringExamples,
    ) -> None:
        task = sides.task(row.feature, variant, claim, found, self.seed)
        score = await scorer.score(task)
        kept = [_row(scorer, row, variant, claim.label, score)]
        on_new = sides.on_new(scorer, score, task)
        if on_new is not None:
            kept.append(_row(scorer, row, variant, claim.label, on_new, NEW_WORDS))
        await self._keep(kept)

    async def _keep(self, kept: Sequence[ScoreRow]) -> None:
        if kept:
            await asyncio.wrap_future(self.log.write(add_scores, self.scoring_id, kept))


def _first_proposed(calls: Sequence[CallRow]) -> CandidateLabel | None:
    """The first label that the explainer wrote, as its answer or to be tested, before it knew how that did."""
    answers = (call.answer for call in calls if call.purpose == PURPOSE and call.scoring_id is None)
    labels = (_label_in(answer) for answer in answers if answer is not None)
    return next((CandidateLabel(" ".join(label.split())) for label in labels if label), None)


def _label_in(answer: Mapping[str, Any]) -> str:
    """Returns an answer's label, else the first that it has texts run for."""
    tested = (test.get("hypothesis") for test in answer.get("tests", ()))
    return str(answer.get("label") or next(filter(None, tested), ""))


def main_variant(scorer: Scorer, row: LabelRow) -> Variant:
    """Returns what a scorer scores of a feature, its controls aside."""
    if scorer.reads_label:
        return "label"
    return "feature" if row.status == "labelled" else "unlabelled"


def why_not(
    row: LabelRow, found: FeatureExamples | None, reads_texts: bool = True, reads_label: bool = True
) -> str | None:
    """Says why a feature cannot be scored at all by scorers that read examples, or a label, or by others."""
    if reads_label and row.status != "labelled":
        return f"no label: the explainer {row.status}" if row.status == "abstained" else "no label: the feature failed"
    if found is None:
        return "no examples were collected of this feature" if reads_texts else None
    if found.activity is not None and found.activity.n_active == 0:
        return f"never active in {found.activity.n_tokens:,} tokens"
    return None


def _template_hash(scorer: Scorer) -> str:
    """Of its question; empty where it asks none."""
    return template_hashes([scorer.template])[scorer.template] if scorer.template else ""


def _is_whole(score: ScoreRow) -> bool:
    """Tells whether a score rests on all of its texts; that of new words follows from the one of all."""
    measured = score.value is not None and score.part == HELD_OUT
    return measured and all(item["prediction"] is not None for item in score.items)


def _key(score: ScoreRow) -> ScoreKey:
    return score.label_id, score.scorer, score.template_hash, score.variant, score.label


def _missing(scorer: Scorer, row: LabelRow, variant: Variant, label: str, reason: str) -> ScoreRow:
    return _row(scorer, row, variant, label, unscored(scorer.name, "", reason))


def _row(scorer: Scorer, row: LabelRow, variant: Variant, label: str, score: Score, part: str = HELD_OUT) -> ScoreRow:
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
        template_hash=_template_hash(scorer),
    )


def _item(item: ScoredItem) -> dict[str, object]:
    return {"key": item.key, "truth": item.truth, "prediction": item.prediction, "reason": item.reason}
