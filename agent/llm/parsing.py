"""An explainer's text made into a value, by bounded work on whatever it holds. Knows no provider and no prompt."""

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from probes.settings import Value

MOST_CHARS = 100_000
"""Longer answers are not read."""
_MOST_STARTS = 200
"""Most places in a text at which an object is looked for; with the length, it bounds the work on hostile text."""
_NAMED_FAULTS = 3
_NAME_CHARS = 60

_REASONING = re.compile(r"\A\s*<(think|thinking|reasoning)>.*?</\1>", re.DOTALL)
"""What some servers leave of a model's reasoning before its answer."""
_START = re.compile(r'\{\s*["}]')

V = TypeVar("V", bound=Value)


class UnusableAnswer(Exception):  # noqa: N818
    """An answer came, and it is no value; the message says why, for the model itself."""


def parsed(text: str, schema: type[V]) -> V:
    """The value that `text` holds: all of it, a fenced block, or the first object within prose that fits `schema`.

    Raises UnusableAnswer.
    """
    if len(text) > MOST_CHARS:
        raise UnusableAnswer(f"the answer is {len(text):,} characters long, at most {MOST_CHARS:,} are read")
    text = _REASONING.sub("", text).strip()
    if not text:
        raise UnusableAnswer("the answer is empty")
    fault = ""
    for found in _objects(text):
        try:
            return schema.model_validate(_without_nulls(found, schema))
        except ValidationError as error:
            fault = _told(error)
    raise UnusableAnswer(_why_not_json(text, prose=bool(fault)) or fault or "the answer is JSON, but not an object")


def _objects(text: str) -> Iterator[Any]:
    """The JSON objects in `text` that are not inside another, in their order."""
    position = 0
    for _ in range(_MOST_STARTS):
        start = _START.search(text, position)
        if start is None:
            return
        try:
            found, position = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = start.start() + 1
        else:
            yield found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse, strict=False)  # small models leave line breaks in their strings


def _without_nulls(data: Any, schema: type[Value]) -> Any:
    """`data` less the fields whose null stands for their default."""
    if isinstance(data, list):
        return [_without_nulls(item, schema) for item in data]
    if not isinstance(data, dict):
        return data
    kept = {}
    for name, value in data.items():
        field = schema.model_fields.get(name)
        if value is None and field is not None and not field.is_required():
            continue
        inner = _schema_of(field)
        kept[name] = value if inner is None else _without_nulls(value, inner)
    return kept


def _schema_of(field: FieldInfo | None) -> type[Value] | None:
    """The kind of value that a field holds, alone, optional or in a sequence."""
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Value)), None)


def _told(error: ValidationError) -> str:
    """What is wrong with an object, field by field."""
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    told = [f"{_name(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults[:_NAMED_FAULTS]]
    more = len(faults) - len(told)
    return "; ".join(told) + (f"; and {more} more faults" if more else "")


def _name(location: tuple[int | str, ...]) -> str:
    """Where a fault is; names come from the answer itself, so they are made short and printable."""
    name = ".".join(map(str, location)) or "the object"
    short = name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}…"
    return short if short.isprintable() else ascii(short)[1:-1]


def _why_not_json(text: str, prose: bool) -> str:
    """Why `text` is not JSON, or nothing. With `prose`, only a text that begins as an object is judged."""
    if prose and not text.startswith("{"):
        return ""
    try:
        _DECODER.raw_decode(text)
    except RecursionError:
        return "the answer is not JSON: it is nested too deep"
    except ValueError as error:
        return f"the answer is not JSON: {str(error).partition(';')[0]}"
    return ""
