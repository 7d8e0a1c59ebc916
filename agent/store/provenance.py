"""Under which versions and by which command a run was made; never with a key in it."""

import re
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("sae-interpret", "torch", "transformers", "safetensors", "numpy")
_SECRETS = re.compile(
    r"""(?P<before>://[^\s/@:]*:|(?:key|token|secret|password)[=\s]\s*)(?P<secret>[^\s@'"]+)
    |\b(?:sk|hf|pk|gsk|xai)[-_][\w-]{8,}""",
    re.VERBOSE | re.IGNORECASE,
)
"""Passwords in URLs, values of options that name a secret, and the forms that providers' keys have."""


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


def without_secrets(text: str) -> str:
    """`text` with everything that looks like a key or a password replaced by `***`."""
    return _SECRETS.sub(lambda match: f"{match['before'] or ''}***", text)


def now() -> str:
    """The time, UTC, to the millisecond, in a form that sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
