"""How one question goes out and its answer comes in: on disk before it is sent, and before its answer is used.

Here one by one; `agent.calls.gathering` sends many together.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from agent.llm.base import Answer, Explainer, Request
from agent.runlog import Dispatch, RunLog


class Sender(Protocol):
    """Sends requests for an asker."""

    def asking(self) -> AbstractContextManager[None]:
        """While it lasts, whoever asks does nothing else."""
        ...

    async def send(self, request: Request, dispatch: Dispatch) -> Answer:
        """What came of it, which is in the log."""
        ...


@dataclass(frozen=True)
class OneByOne:
    """Sends each request at once, alone."""

    explainer: Explainer
    log: RunLog
    run_id: int

    def asking(self) -> AbstractContextManager[None]:
        """Nobody need know."""
        return nullcontext()

    async def send(self, request: Request, dispatch: Dispatch) -> Answer:
        """By one request on the wire."""
        call_id = await asyncio.wrap_future(self.log.begin_call(self.run_id, request, dispatch))
        answer = await self.explainer.answer(request, dispatch.form)
        await asyncio.wrap_future(self.log.end_call(call_id, answer))
        return answer
