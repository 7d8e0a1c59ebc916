"""The judge that scorers ask, through the log: no answer is paid for twice."""

from dataclasses import dataclass
from typing import TypeVar, cast

from agent.calls.asking import AnswerSource
from agent.llm.base import Request
from eval.scorers.base import JudgeReply, Question, system_prompt
from probes.settings import Value
from prompts import render

TEMPLATES = ("judge", "one_shot")
"""Templates that every scoring with a judge uses; each scorer adds its own, see `Scorer.template`."""

V = TypeVar("V", bound=Value)


@dataclass(frozen=True)
class LoggedJudge:
    """An explainer as a judge, its calls logged under a scoring, or under a round of a loop."""

    asker: AnswerSource
    scoring_id: int | None
    round: int = 0

    async def ask(self, question: Question[V]) -> JudgeReply[V]:
        """Its answer, from the log where it stands there. Raises what ends a run."""
        rendered = render(question.template, question.context)
        request = Request(
            feature=question.feature,
            round=self.round,
            purpose=question.purpose,
            item=question.item,
            system=system_prompt(),
            prompt=rendered.text,
            template=rendered.template,
            template_hash=rendered.hash,
            context=question.context,
            schema=question.schema,
            scoring_id=self.scoring_id,
        )
        answer = await self.asker.ask(request)
        return JudgeReply(cast(V | None, answer.value), answer.exchange.error)
