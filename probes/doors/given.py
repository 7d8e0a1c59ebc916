"""Values as users give them, on a command line, in a settings file or a variable: what may stand there at all."""

import math

MAX_DIGITS = 18
"""Of a whole number that is typed: more would not fit where a log keeps numbers."""
_SHOWN = 80


def fault_of(value: object) -> str | None:
    """Says what is wrong with `value` whatever it is for, such as `is empty`; None if nothing is.

    An empty text is no way of saying nothing: it is what a shell makes of a variable that is not set.
    """
    if isinstance(value, list | tuple):
        return next((fault for item in value if (fault := fault_of(item))), None)
    if not isinstance(value, str):
        return None
    if not value.strip():
        return "is empty"
    if "\0" in value:
        return "holds a null character"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "is not valid UTF-8"
    return None


def whole_number(text: str) -> int | None:
    """The number that 1 to 18 decimal digits are; None for any other text."""
    is_one = text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
    return int(text) if is_one else None


def finite_number(text: str) -> float | None:
    """The number that `text` is; None where it is none, not a number or infinite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def shortened(text: str, most: int = 200) -> str:
    """`text`, its end cut off where it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def shown(value: object) -> str:
    """`value` for a message: its representation, cut off where it is long."""
    try:
        return shortened(repr(value), _SHOWN)
    except Exception:  # of a value from outside anything may go wrong here, as for a number of 5,000 digits
        return f"<{type(value).__name__}>"
