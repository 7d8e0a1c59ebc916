"""Foresees what a scoring will ask a judge: a rehearsal whose judge answers from the log, or counts.

Exact for as many features as are rehearsed, and so long as no answer leaves something out; in proportion for more of
them. Writes nothing, runs nothing on the subject.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from agent.calls.admission import Admission
from agent.calls.asking import good_answer
from agent.calls.budget import SpendingBudget
from agent.calls.gate import Gate
from agent.calls.questions import Questions
from agent.evidence.digest import CHARS_PER_TOKEN
from agent.llm.base import Answer, Exchange, Request
from agent.log.calls import attempts_of, draw_of
from agent.log.labels import LabelRow
from agent.log.run_log import RunLog
from agent.log.scores import ScoreRow
from eval.scorers import ScorerTools, make_scorers
from eval.scoring.controls import OneShotLabel
from eval.scoring.judge import LoggedJudge
from eval.scoring.score_run import Scoring
from probes.errors import InterpretError

REHEARSED = 20
"""Most features that questions are made of to be counted: it takes a few hundredths of a second for each."""
NOT_BEGUN = 0
"""No scoring's number: nothing is logged under it."""
_LABEL = "a label that is not known yet"


@dataclass(frozen=True)
class ExpectedQuestions:
    """Questions that are not answered yet."""

    calls: int
    prompt_tokens: int
    """Of all of them, about."""
    exact: bool
    """Whether all features were rehearsed."""


async def expected_questions(
    scoring: Scoring, rows: Sequence[LabelRow], questions: Questions | None
) -> ExpectedQuestions:
    """Counts the questions that scoring these labels will ask; the scoring's own judge, runner and embedder are not
    used.
    """
    step = max(1, -(-len(rows) // REHEARSED))
    some = rows[::step]
    counter = _Counter(scoring.log, scoring.run.run_id, questions)
    judge = LoggedJudge(counter, scoring.scoring_id)
    names = [scorer.name for scorer in scoring.scorers]
    scorers = make_scorers(names, ScorerTools(judge, _StandIn(), _StandIn()))
    door = Admission(Gate(1), SpendingBudget())
    fields = {**vars(scoring), "judge": judge, "scorers": scorers, "admission": door}
    await _Rehearsal(**fields).score(some, 1, _SilentObserver())
    if door.reason is not None:
        raise door.reason
    share = len(rows) / max(len(some), 1)
    return ExpectedQuestions(round(counter.calls * share), round(counter.chars * share / CHARS_PER_TOKEN), step == 1)


class _Rehearsal(Scoring):
    async def _keep(self, kept: Sequence[ScoreRow]) -> None:
        """Nothing: what was not answered is no score."""


@dataclass
class _Counter:
    """Asks nobody."""

    log: RunLog
    run_id: int
    questions: Questions | None
    calls: int = 0
    chars: int = 0
    asked: set[tuple[int, str, int]] = field(default_factory=set)
    """Keys of the questions so far: two scorers may ask the same one, which is answered once."""

    async def ask(self, request: Request) -> Answer:
        """Answers from the log; else with nothing, or with a stand-in label where other questions rest on the
        answer.
        """
        logged = good_answer(self.log.read(attempts_of, self.run_id, request), request)
        if logged is not None:
            return logged
        if self.questions is not None and self.questions.from_log:
            drawn = self.log.read(draw_of, self.run_id, request, self.questions.key(request))
            if drawn is not None:
                return Answer(request.schema.model_validate_json(drawn), Exchange("", "", ""))
        key = (request.feature, request.purpose, request.item)
        if key not in self.asked:
            self.asked.add(key)
            self.calls += 1
            self.chars += len(request.system) + len(request.prompt)
        value = OneShotLabel(label=_LABEL) if request.schema is OneShotLabel else None
        return Answer(value, Exchange("", "", "", error=None if value else "not asked"))


class _StandIn:
    """In the place of the subject and of embeddings, for scorers that go on to ask."""

    async def peaks(self, _feature: int, texts: Sequence[str]) -> Sequence[float]:
        """Nothing is active."""
        return [0.0] * len(texts)

    async def raised(self, _feature: int, _maximum: float, n_others: int, _seed: int) -> Sequence[Sequence[str]]:
        """A word for each feature."""
        return [[_LABEL]] * (n_others + 1)

    def encode(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """All alike."""
        return np.ones((len(texts), 1), dtype=np.float32)


class _SilentObserver:
    def told(self, row: LabelRow) -> None:
        """Nobody looks."""

    def stopping(self, reason: InterpretError) -> None:
        """Nobody waits."""
