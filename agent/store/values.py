"""Rows into values whose every field is of the type that it is declared to have: a log may come from anywhere."""

import zlib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

Made = TypeVar("Made")

MOST_BYTES = 1 << 28
"""That a payload may hold unpacked; the largest tree that was ever logged has a thousandth of that."""


def made(kind: type[Made], values: Mapping[str, Any]) -> Made:
    """The dataclass `kind` with these fields. Raises ValueError, of which field and value."""
    which: Any = kind
    try:
        found = _adapter(which).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}={first['input']!r:.80}, {first['msg']}") from None
    return kind(**found)


def unpacked(payload: bytes) -> bytes:
    """Decompresses a value. Raises zlib.error or ValueError."""
    if not isinstance(payload, bytes):
        raise ValueError(f"payload={payload!r:.80} is no compressed JSON")
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(payload, MOST_BYTES)
    if not unpacking.eof:
        raise ValueError("a payload is cut off, or larger than any that is ever logged")
    return found


_TYPED: Any = TypedDict
"""Called with names that are found out, which type checkers do not follow."""


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    hints = get_type_hints(kind)
    shape = _TYPED(kind.__name__, {field.name: hints[field.name] for field in fields(kind)}, total=False)
    shape.__pydantic_config__ = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    return TypeAdapter(shape)
