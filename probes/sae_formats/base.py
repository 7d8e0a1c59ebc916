"""The protocol of formats: the files of an SAE, and the way a small JSON file is read."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from probes.doors import door, shown
from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Hook, find_hook
from probes.sae_formats.weights import Weights, open_weights

PICKLES = (".pt", ".pth")
_MOST_SAID = 600


@dataclass(frozen=True)
class SaeFiles:
    """The files that are one SAE."""

    folder: Path
    weights: str
    config: str | None = None
    more: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [name for name in (self.config, self.weights, *self.more) if name is not None]


@dataclass(frozen=True)
class SaePlace:
    """A place that the user has named: a folder, or a file in it."""

    folder: Path
    file: str | None = None

    def has(self, *names: str) -> bool:
        """Tells whether these files are there."""
        return all((self.folder / name).is_file() for name in names)

    def asks_for(self, weights: str) -> bool:
        """Tells whether these weights can be meant."""
        return self.file in (None, weights)

    @cached_property
    def pickle(self) -> Weights | None:
        """The pickle that was named, or the only one in the folder. Raises SubjectError where there are several."""
        if self.file is not None:
            return open_weights(self.folder / self.file) if Path(self.file).suffix in PICKLES else None
        found = sorted(path.name for path in self.folder.iterdir() if path.suffix in PICKLES)
        if len(found) > 1:
            some = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
            raise SubjectError(f"SAE folder {self.folder} holds {some}; name one as {self.folder}:{found[0]}.")
        return open_weights(self.folder / found[0]) if found else None


class Format(Protocol):
    """One published way of storing SAEs: a module with these names (goodfire.py is short)."""

    FILES: tuple[str, ...]
    """What it may need from the hub, the configuration first if it has one; a pickle is named by the user."""

    def find(self, place: SaePlace) -> SaeFiles | None:
        """The files of an SAE in this format, or None where there is none."""

    def read(self, files: SaeFiles) -> SAE:
        """The SAE. Raises SubjectError, one sentence, for what is missing, damaged or not supported."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Sentences from within are said of the configuration at `path`."""
    try:
        yield
    except SubjectError as error:
        if str(path) in str(error):
            raise
        # which may show a value of any length
        said = shown(str(error).removesuffix("."), _MOST_SAID)
        raise SubjectError(f"SAE configuration {path}: {said}.") from None


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file. Raises SubjectError."""
    with door(SubjectError, f"SAE configuration {path} cannot be read as JSON: {{cause}}; download it again."):
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise SubjectError(f"SAE configuration {path} is no ordinary file; put the SAE's own there.")
        data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise SubjectError(f"SAE configuration {path} cannot be read as JSON: it holds no object.")
    return data


def part(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object at `key`, empty where there is none. Raises SubjectError where it is something else."""
    value = data.get(key) or {}
    if not isinstance(value, dict):
        raise SubjectError(f"{key} is {value!r:.100} instead of an object.")
    return value


def size(data: Mapping[str, Any], key: str) -> int:
    """A positive whole number. Raises SubjectError."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SubjectError(f"{key} is {value!r:.100} instead of a positive whole number.")
    return value


def positive(data: Mapping[str, Any], key: str) -> float:
    """A positive number. Raises SubjectError."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise SubjectError(f"{key} is {value!r:.100} instead of a positive number.")
    return float(value)


def not_negative(data: Mapping[str, Any], key: str) -> float:
    """A number from 0 on. Raises SubjectError."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise SubjectError(f"{key} is {value!r} instead of a number from 0 on.")
    return float(value)


def switch(data: Mapping[str, Any], key: str, default: bool) -> bool:
    """A switch, `default` where the file does not say. Raises SubjectError: "false" and 0 are no switches."""
    value = data.get(key)
    if value is not None and not isinstance(value, bool):
        raise SubjectError(f"{key} is {value!r} instead of true or false.")
    return default if value is None else value


def refuse_if_set(data: Mapping[str, Any], *keys: str) -> None:
    """Raises SubjectError where one of these switches is on."""
    for key in keys:
        if data.get(key):
            raise SubjectError(f"{key} {data[key]!r:.100} is not supported.")


def names_of(files: SaeFiles) -> list[str]:
    """The names that may tell what an SAE is, nearest first: its file's, and those of the folders around it."""
    folders = files.folder.resolve()
    return [Path(files.weights).name, folders.name, *(parent.name for parent in folders.parents)]


def named(files: SaeFiles, pattern: str) -> re.Match[str] | None:
    """The pattern where it first matches in a name, nearest first, neither letter nor digit around it."""
    found = (re.search(rf"(?<![A-Za-z0-9])(?:{pattern})(?![A-Za-z0-9])", name) for name in names_of(files))
    return next((match for match in found if match), None)


def named_hook(files: SaeFiles) -> Hook | None:
    """The hook that a file's or folder's name spells out, such as `blocks.6.hook_resid_post`."""
    return next((hook for name in names_of(files) if (hook := find_hook(name))), None)


def unnamed(files: SaeFiles, what: str, example: str) -> SubjectError:
    """The error where names do not tell what the files do not."""
    return SubjectError(
        f"SAE weights {files.folder / files.weights} do not say {what}, nor do the names around them; "
        f"keep the published names, such as {example}, or put the file into a folder named by its hook, such as "
        "blocks.6.hook_resid_post."
    )
