"""The one way to ask an explainer: every attempt is on disk before its answer is used, and no answer is asked twice.

Knows neither how a question was made nor what becomes of its answer.
"""

import asyncio
from dataclasses import dataclass, replace

from agent.llm.base import Answer, Explainer, Request
from agent.runlog import RunLog


@dataclass(frozen=True)
class Asker:
    """An explainer whose calls are logged under one run."""

    explainer: Explainer
    log: RunLog
    run_id: int

    async def ask(self, request: Request) -> Answer:
        """The good answer logged under the request's key, else a new one, logged. Raises LogError, ExplainerError."""
        logged = self.log.answer_of(self.run_id, request.feature, request.round, request.purpose, request.item)
        if logged is not None:
            return logged
        answer = _checked(await self.explainer.answer(request))
        row = self.log.add_call(self.run_id, request, answer, attempt=self._attempts(request) + 1)
        await asyncio.wrap_future(row)
        return answer

    def _attempts(self, request: Request) -> int:
        """How often the question was asked before, in vain."""
        key = (request.round, request.purpose, request.item)
        calls = self.log.calls_of(self.run_id, request.feature)
        return sum((call.round, call.purpose, call.item) == key for call in calls)


def _checked(answer: Answer) -> Answer:
    """`answer`, made unusable if its label is empty: logged as good, it would come back on every resume."""
    proposal = answer.proposal
    if proposal is None or proposal.action != "label" or proposal.label.strip():
        return answer
    return Answer(None, replace(answer.exchange, error="the explainer settled on an empty label"))
