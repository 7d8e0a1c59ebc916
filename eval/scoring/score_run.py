"""Scores a run's labels: each label and its controls, by each scorer, on the same held-out texts, all of it logged.

What cannot be scored has a row that says why. Knows no provider and no command line.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.calls.admission import Admission
from agent.calls.workers import work_through
from agent.config import ScoreSettings
from agent.loop import PURPOSE
from agent.runlog import CallRow, LabelRow, RunLog, RunSummary, ScoreRow
from eval.scorers.base import Item, Judge, Score, Scorer, Variant, unscored
from eval.scoring.controls import one_shot_question, shuffled, top_tokens, top_tokens_label
from eval.scoring.prompted import Prompted
from eval.scoring.sides import Claim, Sides
from probes.errors import InterpretError
from probes.examples import Collected

HELD_OUT, NEW_WORDS = "held_out", "new_words"
"""The part of the held-out texts that a score rests on: all, or those that peak on words of no shown text."""


Scored = tuple[int, str, str, str]
"""A label's id, a scorer, a variant, and the words that were scored as it."""


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
    run: RunSummary
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
        """Scores what has no score yet, or only one of some of its texts; what was answered about these is in the log.

        What ends it early lets the calls in flight end and is `admission.reason`.
        """
        done = {_key(score) for score in self.log.scores(self.scoring_id) if _is_whole(score)}
        donors = self._donors()

        async def score(row: LabelRow) -> None:
            await self._feature(row, donors, done)
            watch.told(row)

        await work_through(rows, concurrency, score, self.admission, watch.stopping)

    def _donors(self) -> dict[int, Claim]:
        """Another feature's label for each of the run's, whichever of them are scored now."""
        labelled = {row.feature: row for row in self.log.labels(self.run.run_id, status="labelled")}
        labels = {feature: row.label for feature, row in labelled.items()}
        pairs = shuffled(labels, self.concepts, self.seed)
        return {here: Claim(labelled[there].label, labelled[there].explanation) for here, there in pairs.items()}

    async def _feature(self, row: LabelRow, donors: Mapping[int, Claim], done: Collection[Scored]) -> None:
        found = self.log.collected(self.corpus_id, row.feature)
        reason = why_not(row, found)
        if reason is not None or found is None:
            nothing = [unscored(scorer.name, "", reason or "") for scorer in self.scorers]
            await self._keep([_row(row, "label", row.label, score, HELD_OUT) for score in nothing])
            return
        sides = self._sides(found)
        async for variant, claim in self._claims(row, found, sides, donors):
            for scorer in self.scorers:
                if (row.label_id, scorer.name, variant, claim.label) not in done:
                    await self._scored(scorer, row, variant, claim, found, sides)

    def _sides(self, found: Collected) -> Sides:
        held_out = self.log.collected(self.corpus_id, found.feature, "held_out")
        shown = self.log.collected(self.corpus_id, found.feature, "shown", ["activating"])
        prompted = Prompted.of(self.log, self.run, found.feature)
        unseen = prompted.less(held_out.examples if held_out else ())
        return Sides.of(unseen, shown.examples if shown else (), self.settings, self.seed, prompted.examples)

    async def _claims(
        self, row: LabelRow, found: Collected, sides: Sides, donors: Mapping[int, Claim]
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
        self, scorer: Scorer, row: LabelRow, variant: Variant, claim: Claim, found: Collected, sides: Sides
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


def _is_whole(score: ScoreRow) -> bool:
    """Whether a score rests on all of its texts; that of new words follows from the one of all."""
    measured = score.value is not None and score.part == HELD_OUT
    return measured and all(item["prediction"] is not None for item in score.items)


def _key(score: ScoreRow) -> Scored:
    return score.label_id, score.scorer, score.variant, score.label


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
