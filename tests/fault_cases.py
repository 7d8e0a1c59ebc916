"""What can go wrong between a run and its server, as data: what the server does, and what must come of it.

The runs are over `FEATURES`, of which the odd ones are asked about in two rounds when all is well.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.llm.base import AnswerForm, CallFault
from tests.llm_script import Reply, Script, in_turn, labelling

FEATURES = range(4)
QUESTIONS = 6
"""Two of the four features are asked about twice."""
PROVIDERS = ("anthropic", "openai")
LATE = (3, 2)
"""The last question: feature and round."""
ATTEMPTS = 4
"""How often a question is tried in these runs."""


@dataclass(frozen=True)
class Case:
    """One thing a server may do."""

    name: str
    script: Script
    providers: tuple[str, ...] = PROVIDERS
    fault: CallFault | None = None
    """Of the rows that went wrong; None where none does."""
    error: str = ""
    """What their sentences hold."""
    failed: frozenset[int] = frozenset()
    """The features that end so; all others are labelled, unless the run stops."""
    stops: str = ""
    """What the sentence holds with which the run stops; empty where it does not."""
    requests: int | None = QUESTIONS
    """None where it depends on who is first."""
    form: AnswerForm | None = None
    """In which all is answered in the end."""
    listing: Reply | None = None
    """What the server gives instead of a list of models."""
    timeout_s: float = 60.0
    leaves_after: int | None = None
    """The server is gone after so many requests."""


def first(*replies: Reply) -> Script:
    """These replies in turn to each question, then good answers."""
    return lambda asked: replies[asked.before] if asked.before < len(replies) else labelling(asked)


def always(reply: Reply) -> Script:
    """That reply to everything."""
    return in_turn(reply)


def on(question: tuple[int, int], script: Script) -> Script:
    """That to one question, good answers to the others."""
    return lambda asked: script(asked) if (asked.feature, asked.round) == question else labelling(asked)


def after(feature: int, reply: Reply) -> Script:
    """Good answers up to that feature; for those beyond it, `reply`."""
    return lambda asked: reply if (asked.feature or 0) > feature else labelling(asked)


def answering(change: Callable[[Reply], Reply], *forms: AnswerForm) -> Script:
    """Good answers, changed; of a server that knows only these forms."""
    return lambda asked: replace(change(labelling(asked)), forms=forms or tuple(AnswerForm))


def text(frame: str, *forms: AnswerForm) -> Script:
    """Good answers within other text."""
    return answering(lambda reply: replace(reply, answer=frame.replace("ANSWER", reply.answer)), *forms)


def _as_it_is(reply: Reply) -> Reply:
    return reply


def _label(**fields: object) -> Reply:
    return Reply(json.dumps({"action": "label", "label": "dog", "confidence": 0.5} | fields))


def _without_usage(reply: Reply) -> Reply:
    return replace(reply, usage=False)


def _cached(reply: Reply) -> Reply:
    return replace(reply, cache_read=1024, cache_write=64)


def _throttling(reply: Reply) -> Reply:
    limits = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5ms"}
    return replace(reply, headers=limits)


def _body(status: int, **fields: object) -> Reply:
    return Reply(status=status, body=json.dumps(fields))


_ALL = frozenset(FEATURES)
_TWICE = 2 * QUESTIONS
_HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_NO_CREDIT = Reply("Your credit balance is too low to access the API.", 400)
_QUOTA = Reply("You exceeded your current quota.", 429, error_type="insufficient_quota")
_TIMEOUT_S = 1.5
_SLOW_S = 600.0

MODES = (
    Case("a server that knows schemas", labelling, form=AnswerForm.SCHEMA),
    Case(
        "only JSON mode",
        answering(_as_it_is, AnswerForm.JSON, AnswerForm.TEXT),
        ("openai",),
        CallFault.FORM,
        "response_format",
        requests=None,
        form=AnswerForm.JSON,
    ),
    Case(
        "only text",
        answering(_as_it_is, AnswerForm.TEXT),
        fault=CallFault.FORM,
        requests=None,
        form=AnswerForm.TEXT,
    ),
    Case("text in prose", text("Certainly! Here it is:\n\nANSWER\n\nI hope this helps {you}."), form=AnswerForm.SCHEMA),
    Case("text in a code fence", text("```json\nANSWER\n```"), form=AnswerForm.SCHEMA),
    Case("reasoning first", text("<think>{is it a dog?}</think>\nANSWER"), form=AnswerForm.SCHEMA),
    Case(
        "only text, fenced, in prose",
        text("Sure:\n```\nANSWER\n```\nDone.", AnswerForm.TEXT),
        fault=CallFault.FORM,
        requests=None,
        form=AnswerForm.TEXT,
    ),
    Case("no usage figures", answering(_without_usage)),
    Case("hits of the prompt cache", answering(_cached)),
    Case("a limit told in advance", answering(_throttling)),
    Case("no model list", labelling, listing=Reply("no such path", 404)),
    Case("nonsense for a model list", labelling, listing=Reply(body="<html>")),
)


def _passing(name: str, reply: Reply, error: str) -> Case:
    return Case(name, first(reply), fault=CallFault.TRANSIENT, error=error, requests=_TWICE)


def _slow(name: str, reply: Reply) -> Case:
    script = on(LATE, first(reply))
    error = f"no answer within {_TIMEOUT_S:g} s"
    return Case(name, script, fault=CallFault.TRANSIENT, error=error, requests=QUESTIONS + 1, timeout_s=_TIMEOUT_S)


PASSING = (
    _passing("429 with retry-after", Reply("slow down", 429, {"retry-after": "0.02"}), "HTTP 429: slow down"),
    _passing("429 with retry-after-ms", Reply("slow down", 429, {"retry-after-ms": "20"}), "HTTP 429"),
    _passing("429 without retry-after", Reply("slow down", 429), "HTTP 429"),
    _passing("408", Reply("too slow", 408), "HTTP 408"),
    _passing("409", Reply("conflict", 409), "HTTP 409"),
    _passing("500", Reply("oops", 500, error_type="api_error"), "HTTP 500: oops"),
    _passing("503", Reply("busy", 503), "HTTP 503"),
    _passing("529", Reply("overloaded", 529, error_type="overloaded_error"), "HTTP 529: overloaded"),
    _passing("502, a page of HTML", Reply(status=502, body=_HTML), "HTTP 502"),
    _passing("500 without a body", Reply(status=500, body=""), "HTTP 500"),
    _passing("200 with an error", _body(200, error={"message": "no worker", "code": 502}), "no worker"),
    _passing("200 with a page of HTML", Reply(body=_HTML), "no JSON object"),
    _passing("200 without an answer", _body(200, id="x", choices=[]), "the server's response has no"),
    _passing("cut off before the answer", Reply(cut=0), "the connection broke"),
    _passing("cut off in the head", Reply(cut=10), "the connection broke"),
    _passing("cut off in mid-answer", replace(_label(), cut=250), "the connection broke"),
    _passing("said to be gzip, and not", replace(_label(), headers={"Content-Encoding": "gzip"}), "broke"),
    _slow("a server that never answers", Reply(delay_s=_SLOW_S)),
    _slow("a server that never ends", replace(_label(), pace_s=0.1)),
    Case(
        "500 again and again on one feature",
        on((2, 1), always(Reply("oops", 500))),
        fault=CallFault.TRANSIENT,
        error="HTTP 500: oops",
        failed=frozenset({2}),
        requests=QUESTIONS - 1 + ATTEMPTS,
    ),
)


def _unusable(name: str, reply: Reply, error: str) -> Case:
    return Case(name, first(reply), fault=CallFault.UNUSABLE, error=error, requests=_TWICE)


def _large(name: str, size: int, error: str) -> Case:
    script = on(LATE, first(Reply("word " * (size // 5))))
    return Case(name, script, fault=CallFault.UNUSABLE, error=error, requests=QUESTIONS + 1)


UNUSABLE = (
    *(
        replace(_unusable("cut off by its length", replace(_label(), stop=stop), "length limit"), providers=(provider,))
        for provider, stop in (("anthropic", "max_tokens"), ("openai", "length"))
    ),
    _unusable("malformed JSON", Reply('{"action": "label", "label": dog}'), "not JSON"),
    _unusable("half an object", Reply('{"action": "label", "lab'), "not JSON"),
    _unusable("no JSON at all", Reply("It is a dog."), "not JSON"),
    _unusable("JSON, but a list", Reply("[1, 2]"), "not an object"),
    _unusable("an empty answer", Reply(""), "the answer is empty"),
    _unusable("an empty object", Reply("{}"), "action: Field required"),
    _unusable("an empty label", _label(label=" "), "can be seen"),
    _unusable("wrong types", _label(label=7, confidence="high"), "label: Input should be a valid string"),
    _unusable("an answer for another schema", Reply('{"score": 3, "comment": "good"}'), "Field required"),
    _unusable("a field of its own", _label(mood="merry"), "mood: Extra inputs are not permitted"),
    _unusable("confidence NaN", Reply('{"action": "label", "label": "dog", "confidence": NaN}'), "NaN"),
    _unusable("confidence 1e999", Reply('{"action": "label", "label": "dog", "confidence": 1e999}'), "confidence"),
    _unusable("confidence 7", _label(confidence=7), "confidence: Input should be less than or equal to 1"),
    _unusable("half a character", Reply('{"action": "label", "label": "\\ud800"}'), "label: "),
    _large("2 MB", 2_000_000, "2,000,000 characters long"),
    _large("5 MB", 5_000_000, "longer than 4,000,000 bytes"),
    _unusable("20,000 objects in one another", Reply('{"a":' * 20_000), "not JSON"),
    Case(
        "never JSON",
        always(Reply("It is a dog.")),
        fault=CallFault.UNUSABLE,
        error="not JSON",
        failed=_ALL,
        requests=2 * len(FEATURES),
    ),
)

FINAL = (
    Case(
        "a refusal",
        always(Reply(stop="refusal", refusal="I would rather not.")),
        fault=CallFault.FINAL,
        error="the model refused to answer: I would rather not.",
        failed=_ALL,
        requests=len(FEATURES),
    ),
    Case(
        "withheld by a filter",
        on((1, 1), always(Reply(stop="content_filter"))),
        ("openai",),
        CallFault.FINAL,
        "content filter",
        frozenset({1}),
        requests=QUESTIONS - 1,
    ),
    Case(
        "a prompt too long",
        on((1, 1), always(Reply("prompt is too long: 9 > 8", 400))),
        fault=CallFault.FINAL,
        error="prompt is too long",
        failed=frozenset({1}),
        requests=QUESTIONS - 1,
    ),
    Case("evidence that there is not", always(_label(evidence=["E9.9", "<b>"])), requests=len(FEATURES)),
    Case("a label that holds anything", always(_label(label="\x00\x1b[31m'; DROP TABLE")), requests=len(FEATURES)),
)


def _fatal(name: str, reply: Reply, stops: str, providers: tuple[str, ...] = PROVIDERS, since: int = -1) -> Case:
    return Case(name, after(since, reply), providers, CallFault.FATAL, stops, stops=stops, requests=None)


FATAL = (
    _fatal("401", Reply("invalid key", 401), "HTTP 401: invalid key"),
    _fatal("403", Reply("not for you", 403), "HTTP 403"),
    _fatal("402 in the midst of it", Reply("pay first", 402), "HTTP 402: pay first", since=1),
    _fatal("credit exhausted in the midst of it", _NO_CREDIT, "credit balance", ("anthropic",), since=1),
    _fatal("quota exhausted in the midst of it", _QUOTA, "current quota", ("openai",), since=1),
    _fatal("a model that is gone", Reply("no such model", 404), "HTTP 404"),
    _fatal("sent elsewhere", Reply("moved", 307, {"Location": "http://127.0.0.1:9/"}), "sends elsewhere"),
    Case(
        "500 for ever",
        always(Reply("oops", 500)),
        fault=CallFault.TRANSIENT,
        error="HTTP 500",
        stops="The last 2 questions were not answered",
        requests=None,
    ),
    Case(
        "429 for an hour",
        always(Reply("slow down", 429, {"retry-after": "3600"})),
        fault=CallFault.TRANSIENT,
        error="HTTP 429",
        stops="asks for a pause of 3600 s",
        requests=None,
    ),
    Case(
        "gone in the middle of the run",
        labelling,
        fault=CallFault.TRANSIENT,
        error="connection",
        stops="connection",
        requests=None,
        leaves_after=3,
    ),
)

CASES = (*MODES, *PASSING, *UNUSABLE, *FINAL, *FATAL)


def each() -> list[tuple[Case, str]]:
    """Every case with every provider it is for."""
    return [(case, provider) for case in CASES for provider in case.providers]
