"""Files that commands write: nothing in use is written over, nothing but a plain file replaced, no half file left.

`check_output` comes before any work is done, `written` when there is something to write.
"""

import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from probes.doors import door
from probes.errors import OutputError

_SQLITE = b"SQLite format 3\0"
_BESIDE_A_LOG = re.compile(r"(?P<log>.+?)(-wal|-shm|-journal|\.run[0-9]+\.lock)", re.DOTALL)
"""Names of what SQLite and the locks of runs keep beside a log."""
_READ = frozenset(
    (".json", ".jsonl", ".txt", ".parquet", ".safetensors", ".npz", ".pt", ".pth", ".bin", ".gguf", ".gz")
)
"""Endings of what is read from folders of models, SAEs and texts: pictures and tables beside them may be replaced."""


def check_output(path: Path, in_use: Iterable[Path] = (), folder: bool = False) -> None:
    """Raises OutputError where a file, or a `folder`, at `path` would be in the way of something.

    That is one of the files `in_use`, by whatever link, or a file that is read from a folder in use; a database, or
    what lies beside one; the command's own input or output; and anything that is no file, as a device.
    """
    with door(OutputError, f"Nothing can be written to {path}: {{cause}}."):
        if not path.parent.is_dir():
            raise OutputError(f"Nothing can be written to {path}: there is no folder {path.parent}.")
        for other in in_use:
            if _is_same(path, other) or _is_read_from(path, other):
                raise OutputError(f"{path} is in use by this very command ({other}); name another file.")
        _check_kind(path, folder)


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at `path` when it is complete, and not at all where that fails. Raises OutputError.

    What was there is replaced at once, also where `path` is a link to it; what `check_output` refuses is not.
    """
    check_output(path)
    with door(OutputError, f"Nothing can be written to {path}: {{cause}}."):
        target = path.resolve()
        part = target.with_name(f".interpret-{secrets.token_hex(8)}.part")  # short: the name may be as long as can be
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                part.chmod(stat.S_IMODE(target.stat().st_mode))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _check_kind(path: Path, folder: bool) -> None:
    if _is_beside_a_database(path):
        raise OutputError(f"{path} is part of a database, or would be taken for one; name another file.")
    try:
        found = path.stat()
    except FileNotFoundError:  # also where a link leads nowhere
        return
    if folder and stat.S_ISDIR(found.st_mode):
        return
    if stat.S_ISDIR(found.st_mode):
        raise OutputError(f"{path} is a folder; name a file.")
    if not stat.S_ISREG(found.st_mode):
        raise OutputError(f"{path} is a device, a pipe or a socket, which no file replaces; name a file.")
    if folder:
        raise OutputError(f"No folder can be made at {path}: there is a file; name another.")
    if any(os.path.samestat(found, stream) for stream in _streams()):
        raise OutputError(f"{path} is what this command reads from or prints to; name another file.")
    if not os.access(path, os.W_OK):
        raise OutputError(f"{path} may not be written by this user; name another file.")
    if _is_database(path):
        raise OutputError(f"{path} is an SQLite database, which no output replaces; name another file.")


def _streams() -> Iterator[os.stat_result]:
    """Standard input, output and errors, as far as they are open."""
    for descriptor in range(3):
        try:
            yield os.fstat(descriptor)
        except OSError:
            continue


def _is_same(path: Path, other: Path) -> bool:
    """Tells whether both are one file, or would be if they existed."""
    try:
        return path.samefile(other)
    except OSError:  # one of them is not there
        return path.resolve() == other.resolve()


def _is_read_from(path: Path, folder: Path) -> bool:
    is_within = folder.is_dir() and path.resolve().is_relative_to(folder.resolve())
    return is_within and path.is_file() and path.suffix.lower() in _READ


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _is_beside_a_database(path: Path) -> bool:
    target = path.resolve()
    match = _BESIDE_A_LOG.fullmatch(target.name)
    return match is not None and (log := target.with_name(match["log"])).is_file() and _is_database(log)
