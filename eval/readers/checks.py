"""Fields of records from outside, checked one by one; each check raises RecordError with the reason."""

import hashlib
import math
import reprlib
from collections.abc import Mapping, Sequence
from sys import intern
from typing import Any

from eval.readers.base import RecordError

_FEATURE_DIGITS = 12
_LONGEST_NAME = 200


def needed(record: Any, *names: str) -> dict[str, Any]:
    """The record, an object that has all these fields."""
    if not isinstance(record, dict):
        raise RecordError(f"{reprlib.repr(record)} is not an object with fields")
    missing = [name for name in names if record.get(name) is None]
    if missing:
        raise RecordError(f"it has no {' and no '.join(f'`{name}`' for name in missing)}")
    return record


def feature_index(record: Mapping[str, Any], name: str) -> int:
    """A feature's index: a whole number, or its digits (writers differ)."""
    value = record[name]
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _FEATURE_DIGITS:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**_FEATURE_DIGITS:
        return value
    raise RecordError(f"`{name}` is {reprlib.repr(value)}, which is no feature's index")


def texts(record: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts, at least one."""
    value = record[name]
    if not isinstance(value, list) or not value:
        raise RecordError(f"`{name}` is {reprlib.repr(value)}, not a list with at least one token's text")
    wrong = next((place for place, item in enumerate(value) if not isinstance(item, str)), None)
    if wrong is not None:
        raise RecordError(f"item {wrong} of `{name}` is {reprlib.repr(value[wrong])}, not a text")
    return tuple(map(intern, value))


def activations(record: Mapping[str, Any], name: str, n_tokens: int) -> tuple[float, ...]:
    """A feature's activation at each token.

    A negative one is refused rather than clamped: no SAE's activation rule lets one through, so the numbers would be
    pre-activations or a neuron's, whose small positive values do not mean that the feature activates.
    """
    value = record[name]
    if not isinstance(value, list):
        raise RecordError(f"`{name}` is {reprlib.repr(value)}, not a list of numbers")
    if len(value) != n_tokens:
        raise RecordError(f"it has {n_tokens:,} tokens but {len(value):,} activations")
    return tuple(_activation(item, place) for place, item in enumerate(value))


def _activation(value: Any, place: int) -> float:
    number = as_number(value)
    if number is None:
        raise RecordError(f"the activation of token {place} is {reprlib.repr(value)}, not a finite number")
    if number < 0:
        raise RecordError(
            f"the activation of token {place} is {number:g}: an SAE's activations are never negative, "
            "these were taken before its activation rule or are no SAE's"
        )
    return number or 0.0  # one zero for all, and no -0.0


def as_number(value: Any) -> float | None:
    """A finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_text(value: Any) -> str:
    """A text without surrounding spaces; empty for anything else."""
    return value.strip() if isinstance(value, str) else ""


def name(record: Mapping[str, Any], field: str) -> str:
    """Returns the name of a model or an SAE: a short text, or a number."""
    value = record[field]
    text = str(value) if isinstance(value, str | int) else ""
    if not text or len(text) > _LONGEST_NAME:
        raise RecordError(f"`{field}` is {reprlib.repr(value)}, which is no name")
    return text


def named_by_text(tokens: Sequence[str]) -> str:
    """A document's name where its source gives none: a hash, so that the same text is the same document everywhere."""
    text = "".join(tokens).encode("utf-8", "surrogatepass")
    return f"text:{hashlib.sha256(text).hexdigest()[:16]}"
