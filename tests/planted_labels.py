"""A log with planted labels and examples, from the world of `tests.judging`, and ways to score them.

Feature number n activates exactly on the words of the nth concept; its neighbours are the next three features.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from agent.calls.admission import Admission
from agent.calls.asking import Asker, RetryPolicy
from agent.calls.questions import Questions
from agent.config import ScoreSettings
from agent.llm.base import Answer, AnswerForm, Bound, CallFault, Exchange, Explainer, Request, Usage
from agent.log.examples import add_collected, begin_corpus
from agent.log.labels import LabelRow, add_label, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import chosen_run
from agent.log.scores import ScoreRow, ScoringIdentity, begin_scoring, scores_of
from agent.schema import Status
from eval.collect.split import split_of
from eval.scorers import ScorerTools, make_scorers
from eval.scoring.judge import LoggedJudge
from eval.scoring.score_run import Scoring
from probes.errors import InterpretError
from probes.examples import Activity, Example, FeatureExamples, Split
from tests.fakes import faulty, open_door
from tests.judging import CONCEPTS, PEAK, WORLD, PlantedEmbedder, PlantedRunner, answer, neighbour_texts, texts
from tests.logged import corpus_identity, identity, outcome

FEATURES = range(len(CONCEPTS))
TRUE: Mapping[int, str] = dict(enumerate(CONCEPTS))
HALF: Mapping[int, str] = {
    feature: " ".join(WORLD[concept][:2] + WORLD[CONCEPTS[feature - 1]][:2]) for feature, concept in enumerate(CONCEPTS)
}
"""Half of a concept's words, and as many of another's."""
SEED = 0
QUICK = RetryPolicy(attempts=2, first_wait_s=0.001, max_wait_s=0.002, max_unanswered=1000, max_unusable=1_000_000)


@dataclass(frozen=True)
class Planted:
    """A run with its labels and a corpus with its examples, in one log."""

    log: RunLog
    run_id: int
    corpus_id: int | None

    @property
    def rows(self) -> list[LabelRow]:
        return self.log.read(labels_of, self.run_id)


def of_feature(feature: int, n: int = 40) -> FeatureExamples:
    """n texts that activate the feature, n that do not, and n of each neighbour, split and scored as real ones are."""
    hard = [
        replace(example, feature=feature, kind="neighbour", neighbour=other % len(CONCEPTS))
        for other in range(feature + 1, feature + 4)
        for example in neighbour_texts(other % len(CONCEPTS), n, feature)
    ]
    activity = Activity(feature, 10_000, n, PEAK, (0.0, PEAK), (n,))
    return FeatureExamples(feature, activity, [*texts(feature, "activating", n), *texts(feature, "random", n), *hard])


def sides(examples: Sequence[Example], seed: int = SEED) -> dict[str, Split]:
    """The side of each document."""
    return {example.document: split_of(example.document, seed) for example in examples}


def plant(
    log: RunLog,
    labels: Mapping[int, str] = TRUE,
    examples: Callable[[int], FeatureExamples | None] = of_feature,
    statuses: Mapping[int, Status] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Planted:
    """A run with these labels, and what `examples` gives of their features."""
    run_id = log.begin_run(identity(settings={"rounds": 3, **(settings or {})}), sorted(labels), new=True).run_id
    corpus_id = log.write(begin_corpus, corpus_identity()).result()
    for feature, label in labels.items():
        status = (statuses or {}).get(feature, "labelled")
        log.write(add_label, run_id, outcome(feature, label=label, explanation="", status=status)).result()
        found = examples(feature)
        if found is not None:
            log.write(add_collected, corpus_id, found, sides(found.examples)).result()
    return Planted(log, run_id, corpus_id)


@dataclass
class RuleExplainer:
    """Answers by rule, twisted if so wished; remembers what it was asked."""

    twist: Callable[[Request, dict[str, Any]], dict[str, Any] | Exchange] = lambda _request, right: right
    requests: list[Request] = field(default_factory=list)
    provider: str = "fake"
    model: str = "rules"
    address: str = ""
    forms: tuple[AnswerForm, ...] = (AnswerForm.TEXT,)
    size: Bound = field(default_factory=Bound)

    def check(self) -> str:
        return ""

    def bound(self, _request: Request) -> Bound:
        return self.size

    def cost_usd(self, _usage: Usage) -> float | None:
        return None

    async def answer(self, request: Request, form: AnswerForm | None = None) -> Answer:
        self.requests.append(request)
        told = self.twist(request, answer(request.prompt))
        if isinstance(told, Exchange):
            return Answer(None, told)
        exchange = Exchange(self.provider, self.model, json.dumps(told), form=form, usage=Usage(40, 10))
        try:
            return Answer(request.schema.model_validate(told), exchange)
        except ValidationError:
            return Answer(None, faulty(CallFault.UNUSABLE, "the answer does not fit the schema"))

    async def close(self) -> None:
        """Nothing is open."""

    def asked(self, purpose: str) -> list[Request]:
        """Returns what was asked for this purpose."""
        return [request for request in self.requests if request.purpose == purpose]


def settings(**changes: Any) -> ScoreSettings:
    return ScoreSettings.parse({"texts": 20, "negatives": ("random", "neighbour"), **changes})


@dataclass
class Told:
    """An observer of a scoring."""

    on_told: Callable[[LabelRow], None] = lambda _: None

    def told(self, row: LabelRow) -> None:
        self.on_told(row)

    def stopping(self, reason: InterpretError) -> None: ...


def scoring(
    planted: Planted,
    explainer: Explainer | None,
    names: Sequence[str] = ("detection",),
    admission: Admission | None = None,
    concepts: Mapping[int, str] | None = None,
    questions: Questions | None = None,
    **changes: Any,
) -> Scoring:
    """A scoring by these scorers; its identity is the settings', so the same ones go on where they stopped."""
    chosen = settings(scorers=tuple(names), **changes)
    identity = ScoringIdentity(
        run_id=planted.run_id,
        corpus_id=planted.corpus_id,
        judge="rules",
        settings=chosen.model_dump(mode="json", exclude={"scorers"}),
        templates={},
    )
    scoring_id = planted.log.write(begin_scoring, identity).result()
    judge = None
    admission = admission or open_door()
    if explainer is not None:
        asker = Asker(explainer, planted.log, planted.run_id, admission, QUICK, questions=questions)
        judge = LoggedJudge(asker, scoring_id)
    return Scoring(
        log=planted.log,
        run=planted.log.read(chosen_run, planted.run_id),
        scoring_id=scoring_id,
        corpus_id=planted.corpus_id,
        scorers=make_scorers(names, ScorerTools(judge, PlantedRunner(), PlantedEmbedder())),
        judge=judge,
        settings=chosen,
        seed=SEED,
        admission=admission,
        concepts=dict(enumerate(CONCEPTS)) if concepts is None else concepts,
    )


def score(
    planted: Planted, explainer: Explainer | None = None, names: Sequence[str] = ("detection",), **changes: Any
) -> list[ScoreRow]:
    """The scores of all the run's labels. Raises what ended it early."""
    made = scoring(planted, explainer, names, **changes)
    asyncio.run(made.score(planted.rows, 4, Told()))
    if made.admission.reason is not None:
        raise made.admission.reason
    return planted.log.read(scores_of, made.scoring_id)
