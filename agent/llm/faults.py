"""Classifies failed exchanges of any provider: the kind of fault and the time to wait.

Quoted texts are made short and printable here; keys in them are blanked by the caller.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from agent.llm.base import AnswerForm, CallFault, Usage
from agent.llm.bodies import at, json_of, printable_error, text_at

MAX_WAIT_S = 24 * 3600.0
"""Longer waits that a server asks for are not believed."""

_NO_CREDIT = (
    "insufficient_quota",
    "billing_error",
    "billing_hard_limit",
    "billing_not_active",
    "spend_limit_reached",
    "credit balance",
    "insufficient credit",
    "insufficient balance",
)
_NO_MODEL = ("model_not_found", "not a valid model", "organization_on_hold")
"""Codes and words of other errors that every question would get."""
_REFUSED = (
    "context_length_exceeded",
    "context length",
    "context window",
    "context size",
    "prompt is too long",
    "too many tokens",
    "content_policy",
    "content_filter",
    "content policy",
    "content management policy",
    "usage policy",
    "flagged",
    "invalid_prompt",
)
"""Words of errors that concern this question only."""
_FORM_WORDS = ("response_format", "json_schema", "json_object", "output_config", "grammar", "guided")
"""Words of errors from servers that fail, rather than reject the request, if they cannot enforce a schema."""

_VAIN = frozenset({401, 402, 403, 404, 405, 407, 410})
"""Statuses after which no question would be answered."""
_PASSING = frozenset({408, 409, 425, 429})
_FORM = frozenset({400, 415, 422, 501})


@dataclass(frozen=True)
class Failure:
    """The reason why there is no answer."""

    fault: CallFault
    sentence: str
    timed_out: bool = False
    """True if the answer did not come in time."""


def from_status(status: int, body: str, form: AnswerForm) -> Failure:
    """Classifies an HTTP error status of a question asked in `form`."""
    if status < 400:
        return Failure(
            CallFault.FATAL, f"HTTP {status}: the server sends elsewhere; give the address it is at as base URL"
        )
    data = json_of(body)
    error = next((found for key in ("error", "detail", "message") if (found := at(data, key))), None)
    return Failure(_fault(status, _words(error), form), ": ".join(filter(None, (f"HTTP {status}", _message(error)))))


def from_error(error: Any, form: AnswerForm) -> Failure:
    """Classifies an error in the body of a response with a success status; its code may be the intended status."""
    code = at(error, "code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return Failure(_fault(status, _words(error), form), f"an error instead of an answer: {_message(error)}")


def from_line(status: int, body: str, form: AnswerForm) -> Failure:
    """Classifies an error in a batch's results; `status` is the one that it would have had alone."""
    error = at(json_of(body), "error")
    return Failure(_fault(status, _words(error), form), f"not answered in its batch: {_message(error)}")


def _words(error: Any) -> str:
    """Returns all text of an error, to search for words."""
    if not isinstance(error, dict):
        return str(error).lower()
    said = (at(error, "type"), at(error, "code"), at(error, "details", "error_code"), at(error, "message"))
    return " ".join(str(part) for part in said if part).lower()


def _message(error: Any) -> str:
    return printable_error(error if isinstance(error, str) else text_at(error, "message") or text_at(error, "type"))


def _fault(status: int, words: str, form: AnswerForm) -> CallFault:
    if _holds(words, (*_NO_CREDIT, *_NO_MODEL)):
        return CallFault.FATAL
    if 400 <= status < 500 and status not in _PASSING and _holds(words, _REFUSED):
        return CallFault.FINAL
    if status in _VAIN:
        return CallFault.FATAL
    if form is not AnswerForm.TEXT and (status in _FORM or (status >= 500 and _holds(words, _FORM_WORDS))):
        return CallFault.FORM
    if status in _PASSING or (status >= 500 and status != 501):
        return CallFault.TRANSIENT
    return CallFault.FINAL


def from_exception(error: Exception, timeout_s: float) -> Failure:
    """Classifies an exception raised in place of a whole response."""
    cause = error if isinstance(error, httpx2.HTTPError | TimeoutError) else error.__cause__ or error
    if isinstance(cause, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return Failure(CallFault.TRANSIENT, "no connection in time")
    if isinstance(cause, TimeoutError | httpx2.TimeoutException):
        return Failure(CallFault.TRANSIENT, f"no answer within {timeout_s:g} s", timed_out=True)
    told = f"{type(cause).__name__}: {printable_error(str(cause))}".removesuffix(": ")
    if isinstance(cause, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        return Failure(CallFault.FATAL, f"the request cannot be sent ({told})")
    if isinstance(cause, httpx2.ConnectError):
        return Failure(CallFault.TRANSIENT, f"no connection ({told})")
    if isinstance(cause, httpx2.HTTPError):
        return Failure(CallFault.TRANSIENT, f"the connection broke ({told})")
    return Failure(CallFault.FATAL, f"the request cannot be sent ({told})")


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds that the server asks to wait; None if it gives no credible figure."""
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return _believed(milliseconds / 1000)
    asked = headers.get("retry-after", "")
    seconds = _number(asked)
    return _believed(seconds if seconds is not None else _until(_http_date(asked), headers))


def pause_s(headers: Mapping[str, str], usage: Usage) -> float | None:
    """Returns the seconds until a rate limit refills that has less left than the next request needs."""
    waits = [wait for left, needed, wait in _limits(headers, usage) if left is not None and left < needed]
    return max((wait for wait in waits if wait is not None), default=None)


def _limits(headers: Mapping[str, str], usage: Usage) -> Iterator[tuple[float | None, int, float | None]]:
    """Yields for each limit the amount left, the amount that such a request needs, the seconds until it refills."""
    tokens_in, tokens_out = usage.input_tokens or 0, usage.output_tokens or 0
    needs = {
        "requests": 1,
        "tokens": tokens_in + tokens_out,
        "input-tokens": tokens_in - (usage.cache_read_tokens or 0),
        "output-tokens": tokens_out,
    }
    for name, used in needs.items():
        needed = max(used, 1)
        anthropic = f"anthropic-ratelimit-{name}"
        reset = _until(_rfc3339(headers.get(f"{anthropic}-reset", "")), headers)
        yield _number(headers.get(f"{anthropic}-remaining", "")), needed, _believed(reset)
        left = _number(headers.get(f"x-ratelimit-remaining-{name}", ""))
        yield left, needed, _believed(_duration_s(headers.get(f"x-ratelimit-reset-{name}", "")))


def _holds(words: str, any_of: tuple[str, ...]) -> bool:
    return any(word in words for word in any_of)


def _believed(wait_s: float | None) -> float | None:
    return wait_s if wait_s is not None and 0 <= wait_s <= MAX_WAIT_S else None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\s*-?\d{1,15}(\.\d{1,15})?\s*", text, re.ASCII) else None


_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|h|m|s|d)", re.ASCII)
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration_s(text: str) -> float | None:
    """Parses `120ms`, `1s`, `6m0s` to seconds; a bare number is seconds."""
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        return _number(text)
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def _until(moment: datetime | None, headers: Mapping[str, str]) -> float | None:
    """Returns the seconds from the response to `moment`, by the server's own clock if it tells the time."""
    if moment is None:
        return None
    now = _http_date(headers.get("date", "")) or datetime.now(UTC)
    return (moment - now).total_seconds()


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _rfc3339(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
