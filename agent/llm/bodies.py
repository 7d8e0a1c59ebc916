"""Reads what may hold anything: a server's JSON, looked into without trust. Knows no provider."""

from typing import Any

from pydantic_core import from_json

from agent.secrets import without_held_secrets, without_secrets

_MAX_TOKENS = 10**12
"""A server that counts more is not believed."""


def json_of(text: str) -> Any:
    """What `text` holds as JSON; None where it is none."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def at(data: Any, *path: str | int) -> Any:
    """What stands at `path` in nested objects and arrays; None where nothing does."""
    for step in path:
        if isinstance(step, str) and isinstance(data, dict):
            data = data.get(step)
        elif isinstance(step, int) and isinstance(data, list) and step < len(data):
            data = data[step]
        else:
            return None
    return data


def text_at(data: Any, *path: str | int) -> str:
    """The text at `path`; empty where there is none."""
    found = at(data, *path)
    return found if isinstance(found, str) else ""


def items_at(data: Any, *path: str | int) -> list[Any]:
    """The items of the array at `path`; none where there is no array."""
    found = at(data, *path)
    return found if isinstance(found, list) else []


def tokens_at(data: Any, *path: str | int) -> int | None:
    """The number of tokens at `path`; None where there is none that can be believed."""
    found = at(data, *path)
    if isinstance(found, bool) or not isinstance(found, int):
        return None
    return found if 0 <= found <= _MAX_TOKENS else None


def printable(text: str, most: int = 300) -> str:
    """What a model or a list says: one line, at most `most` characters of it, unprintable ones escaped.

    The secrets that this process holds are blanked before the cut.
    """
    return _short(without_held_secrets(text[: 4 * most]), most)


def printable_error(text: str, most: int = 300) -> str:
    """An error's text, likewise, all that looks like a key blanked too."""
    return _short(without_secrets(text[: 4 * most]), most)


def texts_at(data: Any, *path: str | int) -> str:
    """The text of the blocks at `path` after the last that is of another kind: what stands before was reasoning."""
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
