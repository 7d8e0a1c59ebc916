"""Under which versions and by which command a run was made; never with a key in it."""

import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from agent.secrets import without_secrets

_PACKAGES = ("sae-interpret", "torch", "transformers", "safetensors", "numpy")


def versions() -> dict[str, str | None]:
    """Versions of what decides a run's numbers; None for a package run from a checkout that is not installed."""
    return {"python": sys.version.split()[0], **{package: _version(package) for package in _PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def command_line() -> str:
    """The command as typed, secrets blanked."""
    return without_secrets(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def now() -> str:
    """The time, UTC, to the millisecond, in a form that sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
