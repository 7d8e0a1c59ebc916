"""A JSON file walked from value to value, each with its place in the file, in memory that the longest value fills.

Bytes are looked at as Latin-1, a character for each byte, so that a place in the text is a place in the file; a value's
own text is UTF-8 as JSON's is.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from eval.errors import GraphError
from eval.readers.json_stream import BracketReader

LONGEST_VALUE = 64 << 20
"""Bytes of one value: a node, a link, all metadata."""
_PIECE = 1 << 20
_TAIL = 32
"""With less text than this behind it, a number may have more digits to come."""
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODE = json.JSONDecoder().raw_decode
_BOM = "\xef\xbb\xbf"
_PLACE = re.compile(r": line \d.*")


@dataclass(frozen=True)
class ByteSpan:
    """Bytes of a file."""

    start: int
    end: int


@dataclass(slots=True)
class FileItem:
    """A value of a list within the file's object."""

    member: str
    value: Any
    start: int
    """Where it begins in the file."""
    text: str
    """Its bytes, as Latin-1."""

    def members(self) -> dict[str, ByteSpan]:
        """Returns the places in the file of an object's values; of equal names, the last."""
        found: dict[str, ByteSpan] = {}
        at = _past(self.text, 1)
        while self.text[at] == '"':
            name, at = _DECODE(self.text, at)
            begins = _past(self.text, _past(self.text, at) + 1)
            _, ends = _DECODE(self.text, begins)
            found[_utf8(name)] = ByteSpan(self.start + begins, self.start + ends)
            at = _past(self.text, ends)
            at = _past(self.text, at + 1) if self.text[at] == "," else at
        return found


class Scanner(BracketReader):
    """The members of the one object that a file is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._text = ""
        self._base = 0
        """Where in the file the text begins."""
        self._at = 0
        self._ended = False

    def items(self, *streamed: str) -> Iterator[FileItem]:
        """Each member as one item, but for the lists of these names, whose own items come one by one.

        Raises GraphError where what follows is no JSON, or is too long.
        """
        self._more()
        self._at = len(_BOM) if self._text.startswith(_BOM) else 0
        for _ in self.separated("{", "}"):
            name = self._value("").value
            self._take(":")
            if name in streamed and self._peek() == "[":
                for _ in self.separated("[", "]"):
                    yield self._value(str(name))
            else:
                yield self._value(str(name))
        if self._peek():
            raise GraphError(f"more follows after its object, at byte {self._base + self._at:,}")

    def _value(self, member: str) -> FileItem:
        self._peek()
        value, end = self._decoded()
        text = self._text[self._at : end]
        start, self._at = self._base + self._at, end
        return FileItem(member, value if text.isascii() else _decoded_utf8(text, start), start, text)

    def _decoded(self) -> tuple[Any, int]:
        """The value that begins here, and where it ends; reads on as long as it is incomplete."""
        while True:
            try:
                value, end = _DECODE(self._text, self._at)
            except RecursionError:
                raise GraphError(f"it is nested too deeply at byte {self._base + self._at:,}") from None
            except ValueError as error:
                if not self._more():
                    said = _PLACE.sub("", str(error))
                    raise GraphError(f"it is no JSON at byte {self._base + self._at:,} ({said})") from None
            else:
                if isinstance(value, str | list | dict) or len(self._text) - end >= _TAIL or not self._more():
                    return value, end

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            here = self._text[self._at : self._at + 1]
            if here not in " \t\n\r":  # as it mostly is
                return here
            self._at = _past(self._text, self._at)
            if self._at == len(self._text) and not self._more():
                return ""

    def _take(self, character: str) -> None:
        if (found := self._peek()) != character:
            instead = repr(found) if found else "the end of the file"
            raise GraphError(
                f"it is no JSON at byte {self._base + self._at:,} ({character!r} expected, but {instead} found)"
            )
        self._at += 1

    def _more(self) -> bool:
        """Drops what was read and reads as much again as is left; at the end False."""
        rest = len(self._text) - self._at
        if rest > LONGEST_VALUE:
            raise GraphError(f"one value of it is longer than {LONGEST_VALUE >> 20} MiB")
        raw = b"" if self._ended else self._file.read(max(_PIECE, rest))
        self._ended = not raw
        if not raw:
            return False
        self._text, self._base, self._at = self._text[self._at :] + raw.decode("latin-1"), self._base + self._at, 0
        return True


def _past(text: str, at: int) -> int:
    """The next place that is no space."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _decoded_utf8(text: str, start: int) -> Any:
    try:
        return json.loads(text.encode("latin-1").decode("utf-8"))
    except UnicodeDecodeError:
        raise GraphError(f"it is not UTF-8 at byte {start:,}") from None


def _utf8(name: str) -> str:
    """A member's name, for comparison only: one of letters beyond Latin-1 keeps whatever it reads as."""
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name
