"""Finds the reviewer's name: the one that was given, or the system's user."""

import getpass

from agent.errors import ServeError

_MAX_CHARS = 100


def reviewer_name(given: str | None) -> str:
    """Returns the name to store reviews under. Raises ServeError for one that cannot be a name."""
    if given is None:
        try:
            return getpass.getuser()
        except (OSError, KeyError):  # a container's user may have no name
            return "reviewer"
    name = given.strip()
    if not name or len(name) > _MAX_CHARS:
        raise ServeError(
            f"A reviewer's name has 1 to {_MAX_CHARS} characters; --reviewer {given[:40]!r} has {len(name)}."
        )
    return name
