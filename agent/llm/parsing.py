"""Parses an explainer's text into a value, with bounded work on any input.

The answer is the JSON object after the model's reasoning. The parser neither chooses among different objects nor skips
a broken one: a draft that the model rejected must never become its answer, and asking again costs little. So an answer
is also unusable if an object after it is broken or does not fit the schema.
"""

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from agent.llm.reasoning import PATTERN, depth_after, mark_of
from probes.settings import Value

MAX_CHARS = 100_000
"""Maximum length of an answer that is read."""
_MAX_BROKEN = 200
"""Maximum number of braces in a text that begin no object; with the length it bounds the work on hostile text."""
_NAMED_FAULTS = 3
_NAME_CHARS = 60

_TOKEN = re.compile(rf"(?P<brace>\{{(?=\s*[\"'“‘}}\w])) | {PATTERN}", re.VERBOSE | re.IGNORECASE)
"""Matches the possible start of an object and the marks of reasoning."""
_KEY = re.compile(r"""\{\s*(?:["'“‘][^"'”’\n]{0,60}["'”’]|(?P<bare>\w{1,60}))\s*:""")
"""Matches the start of a non-empty object, however badly written."""
_TAG = re.compile(r"<[^<>]{0,40}>|&lt;[^<>&]{0,40}&gt;")
"""Matches tags that end a turn or an answer (<|return|>, </answer>)."""
_WORD = re.compile(r"[^\W_]")
_ANNOUNCED = re.compile(r"\bfinal answer\b(?:\s+is\b)?[\W_]*(?:json)?\s*\Z", re.IGNORECASE)

V = TypeVar("V", bound=Value)


class UnusableAnswer(Exception):  # noqa: N818
    """The answer cannot be parsed; the message says why, addressed to the model."""


@dataclass(frozen=True)
class _JsonObject:
    """A JSON object of the answer, and its position in the text."""

    data: dict[str, Any]
    start: int
    end: int


def parsed(text: str, schema: type[V]) -> V:
    """Parses the object after the reasoning in `text` that fits `schema`, be it alone, fenced or within prose.

    Raises UnusableAnswer where there is none, where one is broken or does not fit, and where several that fit differ
    and none of them ends the text as the "final answer".
    """
    if len(text) > MAX_CHARS:
        raise UnusableAnswer(f"the answer is {len(text):,} characters long, at most {MAX_CHARS:,} are read")
    if not text.strip():
        raise UnusableAnswer("the answer is empty")
    found = _objects(text, schema)
    meant = [one for one in found if one.data.keys() & schema.model_fields.keys()] or found[:1]
    if not meant:
        raise UnusableAnswer(_why_no_object(text))
    if _is_announced(text, meant[-1]):
        return _value(meant[-1].data, schema)
    values = [_value(one.data, schema) for one in meant]
    if any(value != values[0] for value in values):
        raise UnusableAnswer(f"the answer holds {len(values)} objects that differ: give the final one alone")
    if all(_is_mention(text, one) for one in meant):
        raise UnusableAnswer("the object stands within a sentence: give it alone")
    return values[0]


def _objects(text: str, schema: type[Value]) -> list[_JsonObject]:
    """Finds the outermost JSON objects after the reasoning, in order."""
    found: list[_JsonObject] = []
    position = depth = n_broken = 0
    broken = ""
    while token := _TOKEN.search(text, position):
        if token["brace"] is None:
            depth, position = depth_after(mark_of(token), depth), token.end()
            found, broken = [], ""
            continue
        try:
            data, position = _DECODER.raw_decode(text, token.start())
        except (ValueError, RecursionError) as error:
            position = token.end()
            n_broken += 1
            broken = broken or (_why_broken(error) if _is_attempt(text, token.start(), schema) else "")
            if n_broken > _MAX_BROKEN:
                raise UnusableAnswer(broken or "the answer is not JSON: it has too many braces") from None
        else:
            found.append(_JsonObject(data, token.start(), position))
    if depth:
        raise UnusableAnswer("the answer ends within its reasoning")
    if not found and position and not text[position:].strip():
        raise UnusableAnswer(broken or "the answer is empty: nothing stands after its reasoning")
    if broken:
        raise UnusableAnswer(broken)
    return found


def _is_attempt(text: str, start: int, schema: type[Value]) -> bool:
    """Returns True if broken JSON was meant as an object, unlike a brace in prose or code."""
    key = _KEY.match(text, start)
    return key is not None and (key["bare"] is None or key["bare"] in schema.model_fields)


def _is_mention(text: str, one: _JsonObject) -> bool:
    """Returns True if a sentence goes on after the object on the same line."""
    rest = text[one.end :].partition("\n")[0]
    return _WORD.search(_TAG.sub("", rest)) is not None


def _is_announced(text: str, last: _JsonObject) -> bool:
    """Returns True if the last object alone is called the final answer and nothing follows it."""
    before, after = text[: last.start], _TAG.sub("", text[last.end :])
    once = len(re.findall(r"final\s+answer", text, re.IGNORECASE)) == 1
    return once and _ANNOUNCED.search(before) is not None and _WORD.search(after) is None


def _value(data: dict[str, Any], schema: type[V]) -> V:
    """Validates an object as a value, without converting types. Raises UnusableAnswer."""
    try:
        return schema.model_validate(_plain(data, schema), strict=True)
    except ValidationError as error:
        raise UnusableAnswer(_told(error)) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object; raises ValueError for a repeated key."""
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError("an object has one of its keys twice")
    return data


# small models leave line breaks in their strings
_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_once, strict=False)


def _plain(data: Any, schema: type[Value]) -> Any:
    """Converts arrays to tuples and drops fields whose null stands for their default."""
    if isinstance(data, list):
        return tuple(_plain(item, schema) for item in data)
    if not isinstance(data, dict):
        return data
    kept = {}
    for name, value in data.items():
        field = schema.model_fields.get(name)
        if value is None and field is not None and not field.is_required():
            continue
        kept[name] = _plain(value, _schema_of(field) or Value)
    return kept


def _schema_of(field: FieldInfo | None) -> type[Value] | None:
    """Returns the type of value that a field holds: alone, optional or in a sequence."""
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Value)), None)


def _told(error: ValidationError) -> str:
    """Describes the errors of an object, field by field."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    told = [_name(fault["loc"]) + fault["msg"].removeprefix("Value error, ") for fault in faults[:_NAMED_FAULTS]]
    more = len(faults) - len(told)
    return "; ".join(told) + (f"; and {more} more faults" if more else "")


def _name(location: tuple[int | str, ...]) -> str:
    """Returns the path of a faulty field and a colon; its names, from the answer, are made short and printable."""
    name = ".".join(map(str, location))
    short = name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}…"
    return f"{short if short.isprintable() else ascii(short)[1:-1]}: " if name else ""


def _why_no_object(text: str) -> str:
    """Explains the lack of an object in a text."""
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        return _why_broken(error)
    return "the answer is JSON, but not an object"


def _why_broken(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the answer is not JSON: it is nested too deep"
    return f"the answer is not JSON: {str(error).partition(';')[0]}"
