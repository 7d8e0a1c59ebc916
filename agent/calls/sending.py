"""Sends one question and reads its answer: logged before it is sent, and before its answer is used.

This module sends one at a time; `agent.calls.gathering` sends many together.
"""

import asyncio
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from agent.llm.base import Answer, Explainer, Request
from agent.log.calls import Dispatch, begin_call, end_call
from agent.log.run_log import RunLog


class Sender(Protocol):
    """Sends requests for an asker."""

    def asking(self) -> AbstractContextManager[None]:
        """Marks the current item as waiting for an answer while the context lasts."""
        ...

    async def send(self, request: Request, dispatch: Dispatch) -> Answer:
        """Sends the request and returns its answer, which is logged."""
        ...


@dataclass(frozen=True)
class OneByOne:
    """Sends each request alone, immediately."""

    explainer: Explainer
    log: RunLog
    run_id: int

    def asking(self) -> AbstractContextManager[None]:
        """Does nothing: single requests wait for no other item."""
        return nullcontext()

    async def send(self, request: Request, dispatch: Dispatch) -> Answer:
        """Sends one HTTP request."""
        call_id = await asyncio.wrap_future(self.log.write(begin_call, self.run_id, request, dispatch))
        answer = await self.explainer.answer(request, dispatch.form)
        await asyncio.wrap_future(self.log.write(end_call, call_id, answer))
        return answer
