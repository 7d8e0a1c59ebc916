"""Sources of documents: local files, Hugging Face datasets, and the embedded subject's own generator.

All are streamed, never whole in memory.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from eval.collect.content import FRONT_BYTES, content_of
from eval.errors import ExamplesError
from eval.readers.base import RecordError
from eval.readers.json_stream import decoded
from probes.demo.text import DocumentWriter
from probes.demo.world import load_world
from probes.doors import brief, door
from probes.doors.given import shortened

DEMO_SEED = 6
"""The first seed of demo texts that no training, choice or measurement of the embedded subject has used: see the seeds
in probes/demo/build.py and the model's own, 0."""
DEMO_CHARS = 120
"""A demo text must be longer: short ones have few variants, and of the first 36,000 documents 8 % (6 % of their
characters, definitions mostly, all of them shorter) stand word for word in the training text too."""

_PARAGRAPH = 1 << 17
"""Characters after which a paragraph goes on as another document: 128 Ki."""
_LINE = 1 << 24
"""Characters that a line of JSON may have: 16 Mi."""
_TOLD = 20
_SPLIT = "train"
"""Of a dataset, unless named."""
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """A text of a corpus."""

    where: str
    """File and line, row of a dataset, number in the demo's stream."""
    text: str

    @property
    def id(self) -> str:
        """The document's place and a hash of its text, `a.txt:1#09ca7e4eaa6e8ae9`; the hash decides its side."""
        words = " ".join(self.text.split())
        return f"{self.where}#{hashlib.sha256(words.encode()).hexdigest()[:16]}"


@dataclass
class CorpusFaults:
    """The documents and files of a corpus that could not be read; the rest was."""

    n: int = 0
    sentences: list[str] = field(default_factory=list)
    """The first of them, one sentence each: file, line, why."""

    def add(self, sentence: str) -> None:
        """One more."""
        self.n += 1
        if self.n <= _TOLD:
            self.sentences.append(sentence)


def documents(source: str, faults: CorpusFaults, text_key: str = "text", seed: int = 0) -> Iterator[Document]:
    """The documents of `source`, in order.

    - `demo`: endless text of the embedded subject's world, by `seed`; none of it from the training's seed.
    - a `.txt` file: a document is what stands between blank lines, or 128 Ki characters of it at a time.
    - a `.jsonl` file: the string under `text_key` on each line; a `.parquet` file: that column.
    - a folder: all such files in it, by name.
    - anything else: a Hugging Face dataset, `NAME`, `NAME:SPLIT`, `NAME:CONFIG` or `NAME:CONFIG:SPLIT`, its column
      `text_key`; where two parts are given, the second is a configuration if the dataset has one of that name.

    What cannot be read is added to `faults` and left out. Raises ExamplesError, when it is read, where nothing is left,
    where a source does not exist, or where what it needs is not installed.
    """
    n = 0
    with door(ExamplesError, f"Corpus {shortened(source)} cannot be read: {{cause}}."):
        for document in _read(source, faults, text_key, seed):
            if document.text.strip():
                n += 1
                yield document
    if n == 0:
        why = f" ({faults.n:,} faults, the first: {faults.sentences[0].rstrip('.')})" if faults.n else ""
        raise ExamplesError(f"Corpus {source} holds no text{why}; give --corpus one that has some under --text-key.")


def content(source: str) -> str:
    """Fingerprints local files, to tell when they change; empty for the demo and for datasets, which their names
    identify.

    Raises ExamplesError where a file cannot be read.
    """
    with door(ExamplesError, f"Corpus {shortened(source)} cannot be read: {{cause}}."):
        path = Path(source).expanduser()
        files = _files(path) if path.is_dir() else [path] if path.is_file() and source != "demo" else []
        return content_of(files, FRONT_BYTES) if files else ""


def _read(source: str, faults: CorpusFaults, text_key: str, seed: int) -> Iterator[Document]:
    if source == "demo":
        return _demo(seed)
    path = Path(source).expanduser()
    if path.is_dir():
        return _folder(path, faults, text_key)
    if path.is_file():
        return _file(path, faults, text_key)
    if path.exists():
        raise ExamplesError(f"Corpus {source} is a device, a pipe or a socket; name a file or a folder with --corpus.")
    if path.suffix in _FORMATS or source.startswith((".", "/", "~")):
        raise ExamplesError(
            f"Corpus {source} does not exist; give --corpus a file or folder of {_ENDINGS}, the name of a Hugging Face "
            "dataset, or demo."
        )
    return _dataset(source, faults, text_key)


def _demo(seed: int) -> Iterator[Document]:
    if seed < 0:
        raise ExamplesError(f"Seed {seed} of the demo's text is negative; give 0 or more.")
    written = DocumentWriter(load_world(), DEMO_SEED + seed).documents()
    for number, text in zip(count(), written, strict=False):
        if len(text.text) > DEMO_CHARS:
            yield Document(f"demo:{seed}:{number}", text.text)


def _folder(folder: Path, faults: CorpusFaults, text_key: str) -> Iterator[Document]:
    paths = _files(folder)
    if not paths:
        raise ExamplesError(f"Corpus folder {folder} has no file that ends in {_ENDINGS}; name another with --corpus.")
    for path in paths:
        yield from _file(path, faults, text_key)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _FORMATS and path.is_file())


def _file(path: Path, faults: CorpusFaults, text_key: str) -> Iterator[Document]:
    if path.suffix not in _FORMATS:
        packed = "unpack it first" if path.suffix in _PACKED else "convert it to one of them"
        raise ExamplesError(f"Corpus {path} is none of {_ENDINGS}; {packed}.")
    with door(ExamplesError, f"Corpus {path} cannot be read: {{cause}}."):
        yield from _FORMATS[path.suffix](path, faults, text_key)


@dataclass(frozen=True)
class _Line:
    number: int
    text: str
    """At most as long as asked for; with its line break where that was reached."""

    @property
    def ends(self) -> bool:
        return self.text.endswith("\n")


def _lines(path: Path, longest: int, faults: CorpusFaults) -> Iterator[_Line]:
    """The file's lines, those longer than `longest` in several parts; parts that are not UTF-8 are faults."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        number = 1
        while text := file.readline(longest):
            line = _Line(number, text)
            number += line.ends
            if text.isascii() or _whole(text) == text:
                yield line
            else:
                faults.add(f"{path.name}, line {line.number:,} is not UTF-8.")


def _text(path: Path, faults: CorpusFaults, _text_key: str) -> Iterator[Document]:
    parts: list[_Line] = []
    size = 0
    for line in _lines(path, _PARAGRAPH, faults):
        if line.text.strip():
            parts.append(line)
            size += len(line.text)
        if parts and (not line.text.strip() or size >= _PARAGRAPH):
            yield _paragraph(path, parts)
            parts, size = [], 0
    if parts:
        yield _paragraph(path, parts)


def _paragraph(path: Path, parts: list[_Line]) -> Document:
    return Document(f"{path.name}:{parts[0].number}", "".join(part.text for part in parts).rstrip("\n"))


def _json_lines(path: Path, faults: CorpusFaults, text_key: str) -> Iterator[Document]:
    goes_on = False
    for line in _lines(path, _LINE, faults):
        if goes_on or not line.text.strip():
            goes_on = goes_on and not line.ends
            continue
        if len(line.text) >= _LINE and not line.ends:
            goes_on = True
            faults.add(f"{path.name}, line {line.number:,} is longer than {_LINE:,} characters.")
            continue
        try:
            yield Document(f"{path.name}:{line.number}", _field(decoded(line.text), text_key))
        except RecordError as fault:
            faults.add(f"{path.name}, line {line.number:,}: {fault}.")


def _parquet(path: Path, faults: CorpusFaults, text_key: str) -> Iterator[Document]:
    parquet = _extra("pyarrow.parquet", "parquet", f"Corpus {path}")
    with door(ExamplesError, f"Corpus {path} cannot be read as parquet: {{cause}}."):
        file = parquet.ParquetFile(path)
        have = shortened(", ".join(file.schema_arrow.names))
    if text_key not in file.schema_arrow.names:
        raise ExamplesError(
            f"Corpus {path} has no column {text_key!r}, only {have}; name the one with the text by --text-key."
        )
    number = 0
    for batch in file.iter_batches(batch_size=256, columns=[text_key]):
        for item in batch.column(0):
            number += 1
            where = f"{path.name}, row {number:,}"
            with door(ExamplesError, f"Corpus {path} is damaged, row {number:,} cannot be read: {{cause}}."):
                value = item.as_py()
            yield from _value(f"{path.name}:{number}", where, value, faults)


def _dataset(source: str, faults: CorpusFaults, text_key: str) -> Iterator[Document]:
    library = _extra("datasets", "datasets", f"Corpus {source} is no local file, and as a Hugging Face dataset it")
    number = 0
    try:
        name, config, split = _parts(library, source)
        for row in library.load_dataset(name, config, split=split, streaming=True):
            number += 1
            yield from _value(f"{source}:{number}", f"{source}, row {number:,}", row.get(text_key), faults)
    except Exception as error:  # told here, unlike other failures of this door, with how many rows there were
        where = f" after {number:,} rows" if number else ""
        raise ExamplesError(f"Hugging Face dataset {source} cannot be read{where}: {brief(error)}.") from error


def _parts(library: Any, source: str) -> tuple[str, str | None, str]:
    """A dataset's name, configuration and split."""
    match source.split(":"):
        case [name]:
            return name, None, _SPLIT
        case [name, part] if part in library.get_dataset_config_names(name):
            return name, part, _SPLIT
        case [name, split]:
            return name, None, split
        case [name, config, split]:
            return name, config, split
    raise ValueError("write NAME, NAME:SPLIT, NAME:CONFIG or NAME:CONFIG:SPLIT")


def _value(identity: str, where: str, value: object, faults: CorpusFaults) -> Iterator[Document]:
    try:
        yield Document(identity, _field({"text": value}, "text"))
    except RecordError as fault:
        faults.add(f"{where}: {fault}.")


def _field(record: object, text_key: str) -> str:
    if not isinstance(record, dict):
        raise RecordError("it is no JSON object")
    if not isinstance(record.get(text_key), str):
        raise RecordError(f"it has no text under {text_key!r}")
    return _whole(record[text_key])


def _whole(text: str) -> str:
    """`text` with U+FFFD for halves of characters, which JSON can hold and no tokenizer takes."""
    return _HALF.sub("\ufffd", text)


def _extra(module: str, extra: str, who: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ExamplesError(
            f"{who} needs the package {package}, which is not installed; install sae-interpret[{extra}]."
        ) from None


_FORMATS: dict[str, Callable[[Path, CorpusFaults, str], Iterator[Document]]] = {
    ".txt": _text,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
_ENDINGS = ", ".join(_FORMATS)
