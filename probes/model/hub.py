"""A place as the user writes it -> a folder or file on this machine, through the hub's own cache and login.

Knows which files are asked for, not what is in them. Only those are fetched; a pickle is only if it is named itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from probes.doors import door
from probes.errors import SubjectError

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Folder:
    """A folder that exists, or a file where one was named, and which version of it this is."""

    path: Path
    revision: str
    """The hub's commit hash, or `local`."""


def folder_of(
    place: str, kind: str, patterns: Sequence[str], suffixes: tuple[str, ...] = (), beside: Sequence[str] = ()
) -> Folder:
    """The folder that `place` names: a local folder, else a hub id, either with `:subfolder`.

    `kind` is its word in messages; `patterns` are the names of the files needed from the hub. A name ending in one of
    `suffixes` may be a file's, fetched with no more than what lies `beside` it. Raises SubjectError.
    """
    base, _, subfolder = place.partition(":")
    with door(SubjectError, f"{kind} {place!r:.200} cannot be looked for on this machine: {{cause}}; check the path."):
        path, root = Path(place).expanduser(), Path(base).expanduser()
        if path.is_dir() or (path.is_file() and path.suffix in suffixes):
            return Folder(path, "local")
        if root.is_dir() and subfolder:
            return _local_subfolder(root, subfolder, kind, place, suffixes)
    if not _HUB_ID.fullmatch(base):
        raise SubjectError(
            f"{kind} {place!r} is not a folder on this machine and has not the form of a hub id, OWNER/NAME."
        )
    if PurePosixPath(subfolder).suffix in suffixes and subfolder:
        return _hub_file(base, subfolder, kind, beside)
    return _hub_folder(base, subfolder, kind, patterns)


def _local_subfolder(base: Path, subfolder: str, kind: str, place: str, suffixes: tuple[str, ...]) -> Folder:
    path = base / subfolder
    if not path.is_dir() and not (path.is_file() and path.suffix in suffixes):
        raise SubjectError(f"{kind} {place!r}: folder {base} has no subfolder {subfolder!r}.")
    return Folder(path, "local")


def _hub_file(repo: str, name: str, kind: str, beside: Sequence[str]) -> Folder:
    root = _snapshot(repo, kind, [name, *(str(PurePosixPath(name).with_name(other)) for other in beside)], None)
    if not (root / name).is_file():
        raise SubjectError(f"{kind} {repo!r} on the hub has no file {name!r}.")
    return Folder(root / name, _revision(root))


def _hub_folder(repo: str, subfolder: str, kind: str, patterns: Sequence[str]) -> Folder:
    # without a subfolder the files lie at the root; a hub's own pattern * would reach into subfolders too
    wanted = [f"{subfolder}/{pattern}" for pattern in patterns] if subfolder else list(patterns)
    root = _snapshot(repo, kind, wanted, None if subfolder else "*/*")
    folder = root / subfolder
    if not folder.is_dir():
        raise SubjectError(f"{kind} {repo!r} on the hub has no folder {subfolder!r} with {', '.join(patterns)}.")
    return Folder(folder, _revision(root))


def _snapshot(repo: str, kind: str, wanted: list[str], ignored: str | None) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(repo, allow_patterns=wanted, ignore_patterns=ignored))
    except Exception as error:
        raise _explained(error, repo, kind) from error


def _revision(root: Path) -> str:
    return root.name if _COMMIT.fullmatch(root.name) else "local"


def _explained(error: Exception, repo: str, kind: str) -> Exception:
    """`error` in one sentence that says what to do; what is none of the hub's errors stays as it is."""
    page = f"{constants.ENDPOINT}/{repo}"
    match error:
        case GatedRepoError():
            why = f"is gated: accept its licence at {page}, then log in here with `hf auth login`"
        case RepositoryNotFoundError():
            why = "is not on the hub, or is private and the token of `hf auth login` does not open it; check the id"
        case HFValidationError():
            why = "has not the form of a hub id, OWNER/NAME"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled() if constants.HF_HUB_OFFLINE:
            why = "is not in the hub's cache here, and HF_HUB_OFFLINE forbids fetching it; unset that once, online"
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            why = "is neither a local folder nor in the hub's cache, and the hub cannot be reached; check the network"
        case HfHubHTTPError():
            why = f"could not be fetched: the hub answered {_first_line(error)}"
        case OSError():
            why = f"could not be fetched: {_first_line(error)}"
        case _:
            return error
    return SubjectError(f"{kind} {repo!r} {why.rstrip('.')}.")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
