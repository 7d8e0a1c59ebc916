"""What a loopback server is asked, what it is told to reply, and how the two providers write that."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from agent.llm.base import AnswerForm
from agent.schema import Proposal, SettingsChange, TextTest

_FIRST_LINE = re.compile(r'^E\d+\.\d+ "(?P<text>(?:[^"\\]|\\.)*)"', re.MULTILINE)

_TRIED = ("dog", "city", "colour", "fruit", "storm", "tool", "river", "name")


@dataclass(frozen=True)
class Asked:
    """One question, as it arrived."""

    provider: str
    path: str
    model: str
    form: AnswerForm
    system: str
    user: str
    feature: int | None
    round: int | None
    before: int
    """How often this feature and round were asked before."""
    headers: Mapping[str, str]
    """With names in lower case."""
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What to do with one request."""

    answer: str = ""
    """The model's text; with a status of error, the error's message."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """Instead of what the protocol says."""
    raw: bytes | None = None
    """Instead of the body as text."""
    delay_s: float = 0.0
    pace_s: float = 0.0
    """A wait after every byte."""
    cut: int | None = None
    """The connection is closed after so many bytes of the response, its head among them."""
    stop: str | None = None
    """The stop or finish reason; else that of a whole answer."""
    refusal: str = ""
    error_type: str = "invalid_request_error"
    usage: bool = True
    cache_read: int = 0
    cache_write: int = 0
    """How many of the billed input tokens came from a cache, or went into one."""
    forms: Sequence[AnswerForm] = tuple(AnswerForm)
    """What is asked in any other form is refused."""


@dataclass(frozen=True)
class Served:
    """One request and what became of it."""

    asked: Asked
    status: int
    input_tokens: int
    output_tokens: int
    whole: bool
    """Whether the whole response was written to a client that was still there."""
    started_s: float
    ended_s: float

    def line(self) -> str:
        """As a line of JSON, without the texts."""
        told = {name: getattr(self.asked, name) for name in ("provider", "model", "form", "feature", "round", "before")}
        mine = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "asked"}
        return json.dumps(told | mine)


Script = Callable[[Asked], Reply]


def labelling(asked: Asked) -> Reply:
    """A label from the first line of evidence; for odd features, other settings first."""
    found = _FIRST_LINE.search(asked.user)
    if (asked.feature or 0) % 2 and asked.round == 1 and "This is the last round" not in asked.user:
        proposal = Proposal(action="probe", settings=SettingsChange(scale=1.5), reason="It may be clearer further out.")
    elif found is None:
        proposal = Proposal(action="abstain", reason="There is no evidence.")
    else:
        words = found["text"].replace("\\", " ").split()  # whatever was escaped in it is no part of a name
        label = " ".join(words)[:60] or "whitespace"
        proposal = Proposal(action="label", label=label, explanation="It comes first.", confidence=0.5)
    return Reply(proposal.model_dump_json(exclude_defaults=True))


def testing(asked: Asked) -> Reply:
    """Eight texts to be run first, where that is offered; then a label."""
    if asked.round != 1 or "`test` what you think" not in asked.system:
        return labelling(asked)
    texts = [TextTest(text=f"There was a {word} here.", expected=place < 4) for place, word in enumerate(_TRIED)]
    return Reply(Proposal(action="test", label="tried", tests=tuple(texts)).model_dump_json(exclude_defaults=True))


def in_turn(*replies: Reply) -> Script:
    """The first reply to the first time a question is asked, and so on; the last one ever after."""
    return lambda asked: replies[min(asked.before, len(replies) - 1)]


def _anthropic(reply: Reply, asked: Asked, tokens: tuple[int, int]) -> str:
    fresh = tokens[0] - reply.cache_read - reply.cache_write
    usage = {"input_tokens": fresh, "output_tokens": tokens[1]}
    cached = {"cache_read_input_tokens": reply.cache_read, "cache_creation_input_tokens": reply.cache_write}
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": [
            {"type": "thinking", "thinking": '{"action": "abstain"}', "signature": "x"},
            {"type": "text", "text": reply.answer},
        ],
        "stop_reason": reply.stop or "end_turn",
        "stop_details": {"type": "refusal", "explanation": reply.refusal} if reply.refusal else None,
    }
    return json.dumps(body | ({"usage": usage | cached} if reply.usage else {}))


def _openai(reply: Reply, asked: Asked, tokens: tuple[int, int]) -> str:
    details = {"cached_tokens": reply.cache_read, "cache_write_tokens": reply.cache_write}
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    message = {"role": "assistant", "content": reply.answer, "refusal": reply.refusal or None}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.stop or "stop"}],
    }
    return json.dumps(body | ({"usage": usage | {"prompt_tokens_details": details}} if reply.usage else {}))


BODIES = {"anthropic": _anthropic, "openai": _openai}


def error_body(reply: Reply) -> str:
    """An error as both providers write it."""
    error = {"type": reply.error_type, "message": reply.answer, "code": reply.error_type}
    return json.dumps({"type": "error", "error": error})
