"""Files that lie in packages from PyPI, found where pip put them without importing the package.

A place of this kind is `pypi:NAME==VERSION:PATH`, the path as it is within the wheel.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from probes.doors import door
from probes.errors import SubjectError

PREFIX = "pypi:"
_PLACE = re.compile(r"pypi:(?P<name>[\w.-]+)==(?P<version>[^:]+):(?P<path>.+)")


def requirement(place: str) -> str:
    """`NAME==VERSION`, as pip takes it. Raises SubjectError."""
    name, version, _ = _parts(place)
    return f"{name}=={version}"


def path_of(place: str, install: str) -> Path:
    """The file or folder that `place` names; `install` is the command that gets it.

    Raises SubjectError where the package is missing, has another version or lacks the file.
    """
    name, version, path = _parts(place)
    with door(SubjectError, f"The package {name} cannot be looked up: {{cause}}; install it anew with: {install}."):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            raise SubjectError(f"The package {name} is not installed; install it with: {install}.") from None
    if found.version != version:
        raise SubjectError(
            f"{name} {found.version} is installed, but version {version} is needed; install it with: {install}."
        )
    there = Path(str(found.locate_file(path)))
    if not there.exists():
        raise SubjectError(f"The package {name} {version} has lost its {path}; install it again with: {install}.")
    return there


def _parts(place: str) -> tuple[str, str, str]:
    found = _PLACE.fullmatch(place)
    if found is None or ".." in Path(found["path"]).parts or Path(found["path"]).is_absolute():
        raise SubjectError(f"{place!r} has not the form pypi:NAME==VERSION:PATH.")
    return found["name"], found["version"], found["path"]
