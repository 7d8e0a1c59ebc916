"""Files and folders on disk -> JSON records, one at a time, never a file at once.

A file is compressed when its bytes say so, whatever its name. Names that end in `.json` hold one JSON document (a list
is read item by item), all others a record on each line. What cannot be read is noted, and what can be is kept.
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import ExamplesError
from eval.readers.base import RecordError, RecordFaults
from eval.readers.json_stream import LONGEST_RECORD, JsonStream, check_whole, decoded

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_HEAD_BYTES = 1 << 16
_KEY = re.compile(rb'"(\w+)"\s*:')
_BROKEN = (OSError, EOFError, zlib.error)
"""What reading a file can raise: the disk's errors, and gzip's for data cut off or damaged."""


@dataclass(frozen=True)
class FileRecord:
    """One record."""

    where: str
    """File and line, for the user."""
    value: Any
    member: str = ""
    """The field of the document's own object that it stands in, or is an item of; else empty."""


def files_in(path: Path, *endings: str) -> list[Path]:
    """`path` itself, or the files below it with one of these endings, hidden ones left out; numbers in names count.

    Raises ExamplesError where there is no such file or folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ExamplesError(f"There is no file or folder {path} to read examples from.")
    below = (file for file in path.rglob("*") if file.name.endswith(endings) and file.is_file())
    return sorted((file for file in below if not _hidden(file.relative_to(path))), key=_natural)


def _hidden(file: Path) -> bool:
    return any(part.startswith(".") for part in file.parts)


def _natural(file: Path) -> list[tuple[int, str]]:
    """`batch-2` before `batch-10`."""
    return [(int(piece) if piece.isdecimal() else -1, piece) for piece in re.split(r"(\d+)", str(file))]


def keys_near_start(file: Path) -> frozenset[str]:
    """The names of fields in the first 64 KiB, to tell formats by; empty where nothing can be read."""
    try:
        with _opened(file) as stream:
            head = stream.read(_HEAD_BYTES)
    except _BROKEN:
        return frozenset()
    return frozenset(key.decode() for key in _KEY.findall(head))


def records(file: Path, faults: RecordFaults, member: str = "") -> Iterator[FileRecord]:
    """The records of one file: its lines, the items of its list, or the one object it is.

    With `member`, each field of the one object is an entry, and the list under that name is read item by item.
    """
    read = _document if re.search(r"\.json(\.gz)?$", file.name) else _lines
    try:
        with _opened(file) as stream:
            yield from read(stream, file.name, faults, member)
    except OSError as error:
        faults.add(f"{file.name} cannot be opened: {error.strerror or error}.")


def _opened(file: Path) -> io.BufferedIOBase:
    with file.open("rb") as plain:
        compressed = plain.read(len(_GZIP)) == _GZIP
    return gzip.GzipFile(file) if compressed else file.open("rb")


def _lines(stream: io.BufferedIOBase, name: str, faults: RecordFaults, _: str) -> Iterator[FileRecord]:
    number = 0
    while True:
        where = f"{name}, line {number + 1}"
        try:
            line = stream.readline(LONGEST_RECORD + 1)
            too_long = len(line) > LONGEST_RECORD and not line.endswith(b"\n")
            if too_long:
                _skip_line(stream)
        except _BROKEN as error:
            faults.add(_broken(where, error))
            return
        if not line:
            return
        number += 1
        with faults.at(where):
            if too_long:
                raise RecordError(f"the line is longer than {LONGEST_RECORD >> 20} MiB")
            if (text := _text(line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)).strip():
                value = decoded(text)
                check_whole(text, value)
                yield FileRecord(where, value)


def _skip_line(stream: io.BufferedIOBase) -> None:
    while (piece := stream.readline(1 << 20)) and not piece.endswith(b"\n"):
        pass


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"byte {error.start + 1} is not UTF-8") from error


def _document(stream: io.BufferedIOBase, name: str, faults: RecordFaults, member: str) -> Iterator[FileRecord]:
    source = _UntilDamage(stream)
    document = JsonStream(source.read)
    try:
        for number, piece in enumerate(document.pieces(member), start=1):
            where = f"{name}, record {number} (line {piece.line})"
            with faults.at(where):
                if isinstance(piece.value, RecordError):
                    raise piece.value
                yield FileRecord(where, piece.value, piece.member)
    except RecordError as fault:
        if source.damage is None:
            faults.add(f"{name}, line {document.line}: {fault}; the rest of the file is not read.")
    if source.damage:
        faults.add(_broken(f"{name}, line {document.line}", source.damage))


class _UntilDamage:
    """Bytes up to the place of damage, as if the file ended there."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self.damage: Exception | None = None

    def read(self, n: int) -> bytes:
        """The next bytes, `n` at most."""
        try:
            return self._stream.read1(n)  # read() would lose what it has when it meets the damage
        except _BROKEN as error:
            self.damage = error
            return b""


def _broken(where: str, error: Exception) -> str:
    return f"{where}: the file is cut off or damaged from here on ({error}); what stands before is kept."
