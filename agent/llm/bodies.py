"""Reads a server's JSON without trusting its shape."""

from typing import Any

from pydantic_core import from_json

from agent.secrets import without_held_secrets, without_secrets

_MAX_TOKENS = 10**12
"""Larger token counts are not believed."""


def json_of(text: str) -> Any:
    """Parses `text` as JSON; None if it is not JSON."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def at(data: Any, *path: str | int) -> Any:
    """Returns the value at `path` in nested objects and arrays; None if there is none."""
    for step in path:
        if isinstance(step, str) and isinstance(data, dict):
            data = data.get(step)
        elif isinstance(step, int) and isinstance(data, list) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def text_at(data: Any, *path: str | int) -> str:
    """Returns the text at `path`; empty if there is none."""
    found = at(data, *path)
    return found if isinstance(found, str) else ""


def items_at(data: Any, *path: str | int) -> list[Any]:
    """Returns the items of the array at `path`; empty if there is no array."""
    found = at(data, *path)
    return found if isinstance(found, list) else []


def tokens_at(data: Any, *path: str | int) -> int | None:
    """Returns the number of tokens at `path`; None if there is no credible one."""
    found = at(data, *path)
    if isinstance(found, bool) or not isinstance(found, int):
        return None
    return found if 0 <= found <= _MAX_TOKENS else None


def printable(text: str, most: int = 300) -> str:
    """Returns a model's text as one line of at most `most` characters, unprintable ones escaped.

    The secrets that this process holds are blanked before the cut.
    """
    return _short(without_held_secrets(text[: 4 * most]), most)


def printable_error(text: str, most: int = 300) -> str:
    """Returns an error's text likewise, with everything that looks like a key blanked too."""
    return _short(without_secrets(text[: 4 * most]), most)


def texts_at(data: Any, *path: str | int) -> str:
    """Joins the text blocks at `path` after the last block of another kind: the ones before it were reasoning."""
    texts: list[str] = []
    for block in items_at(data, *path):
        if at(block, "type") in (None, "text", "output_text"):
            texts.append(text_at(block, "text"))
        else:
            texts = []
    return "".join(texts)


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    short = line if len(line) <= most else f"{line[:most]}…"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in short)
