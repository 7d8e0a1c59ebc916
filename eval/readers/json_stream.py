"""JSON read piece by piece: the items of a long list one at a time, in memory that one item fills.

Python's own decoder reads each value; this only finds where values begin, and feeds it no more text than a record may
be long.
"""

import codecs
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from eval.readers.base import RecordError

LONGEST_RECORD = 16 << 20
"""Of one record, in bytes or characters; a feature's vector of 16,384 numbers takes a fortieth."""

_PIECE_BYTES = 1 << 20
_NUMBER_S_TAIL = len("e+5")
"""With less text than this behind it, a number may have more digits, a fraction or an exponent to come."""
_SPACE = re.compile(r"[ \t\n\r]*")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON spells half of a character, alone or as part of a pair."""
_BAD_BYTE = re.compile("[\udc80-\udcff]")
"""How a byte that is not UTF-8 shows in text decoded with `surrogateescape`."""


@dataclass(frozen=True)
class JsonPiece:
    """One value of a document."""

    value: Any
    member: str
    """The field of the document's object that it is, or is an item of; else empty."""
    line: int
    """Where it begins, from 1."""


def check_whole(text: str, value: Any) -> None:
    """Raises RecordError where `value`, which `text` is the JSON of, holds halves of characters.

    JSON can spell them, and byte-level tokenizers do; neither a tokenizer nor a log can take them.
    """
    if _HALF.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = ascii(error.object[error.start])
            raise RecordError(f"it holds half of a character ({half}), which is no text") from error


def decoded(text: str) -> Any:
    """The one value that `text` is. Raises RecordError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(_reason(error)) from error


def _checked(text: str, value: Any) -> Any:
    """`value`, which `text` is the JSON of, or the RecordError that says why it cannot be used."""
    if _BAD_BYTE.search(text):
        return RecordError("it is not UTF-8")
    try:
        check_whole(text, value)
    except RecordError as fault:
        return fault
    return value


def _reason(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return f"it is not JSON ({error.msg} at character {error.pos + 1})"
        case RecursionError():
            return "its JSON is nested too deeply"
        case _:
            return f"its JSON cannot be read ({error})"


class BracketReader(ABC):
    """The base of incremental JSON readers: follows brackets and strings piece by piece."""

    @abstractmethod
    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""

    @abstractmethod
    def _take(self, character: str) -> None:
        """Goes past that character; raises where another one stands there."""

    def separated(self, opening: str, closing: str) -> Iterator[None]:
        """Stops before each thing between the brackets; whoever is told so must read it."""
        self._take(opening)
        if self._peek() != closing:
            yield
            while self._peek() == ",":
                self._take(",")
                yield
        self._take(closing)


class JsonStream(BracketReader):
    """JSON values out of a stream of bytes, in order. Raises RecordError where what follows is no JSON."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        """`read` gives the next bytes, as many as asked for at most; none at the end."""
        self._read = read
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._text = ""
        self._at = 0
        self._ended = False
        self.line = 1
        """Where reading is, from 1."""

    def pieces(self, member: str = "") -> Iterator[JsonPiece]:
        """The items of a list, or the value that stands there, as many as follow each other.

        With `member`, the fields of an object, and of the list under that name each item.
        """
        while opening := self._peek():
            if opening == "[":
                yield from self._items("")
            elif opening == "{" and member:
                yield from self._fields(member)
            else:
                yield self._piece("")

    def _fields(self, streamed: str) -> Iterator[JsonPiece]:
        for _ in self.separated("{", "}"):
            name = str(self._piece("").value)
            self._take(":")
            if name == streamed and self._peek() == "[":
                yield from self._items(name)
            else:
                yield self._piece(name)

    def _items(self, member: str) -> Iterator[JsonPiece]:
        for _ in self.separated("[", "]"):
            yield self._piece(member)

    def _piece(self, member: str) -> JsonPiece:
        """The value that comes next; a RecordError as value where it holds a byte that is not UTF-8."""
        self._peek()
        line = self.line
        value, end = self._decoded_here()
        text = self._text[self._at : end]
        self._move(end)
        return JsonPiece(_checked(text, value), member, line)

    def _decoded_here(self) -> tuple[Any, int]:
        """The value that begins here, and where it ends; reads on as long as it is incomplete."""
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self._text, self._at)
            except RecursionError as error:
                raise RecordError(_reason(error)) from error
            except ValueError as error:
                if not self._more():
                    raise RecordError(_reason(error)) from error
            else:
                may_go_on = not isinstance(value, str | list | dict) and len(self._text) - end < _NUMBER_S_TAIL
                if not (may_go_on and self._more()):
                    return value, end

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._move(space.end() if space else self._at)
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if (found := self._peek()) != character:
            instead = repr(found) if found else "the end of the file"
            raise RecordError(f"it is not JSON ({character!r} expected, but {instead} found)")
        self._move(self._at + 1)

    def _move(self, to: int) -> None:
        self.line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Reads as much again as is still unread, and drops what was read; at the end False, and nothing changed."""
        rest = self._text[self._at :]
        if len(rest) > LONGEST_RECORD:
            raise RecordError(f"one record is longer than {LONGEST_RECORD >> 20} MiB")
        text = rest
        enough = min(max(2 * len(rest), _PIECE_BYTES), LONGEST_RECORD + 1)
        while not self._ended and len(text) < enough:
            raw = self._read(_PIECE_BYTES)
            self._ended = not raw
            text += self._decoder.decode(raw, final=self._ended)
        if len(text) == len(rest):
            return False
        self._text, self._at = text, 0
        return True
