"""Blanks keys and passwords in whatever is about to be stored or printed. Knows no provider."""

import json
import os
import re
from collections.abc import Iterator

BLANK = "***"
_LEAST_CHARS = 8
"""Shorter values stand in ordinary text too often to be blanked."""

_PATTERNS = re.compile(
    r"""(?P<before>
        ://[^\s/@:]*:(?=[^\s/@'"\\]+@)                                      # a password in a URL
        | (?<![\w-])--[\w-]{0,40}(?:key|token|secret|password)[=\s]\s*       # the value of an option
        | (?:key|token|secret|password)=                                    # an assignment
        | (?:api|access|auth|secret)[-_]?(?:key|token)["']?\s*:\s*["']?     # a header, or a field of JSON
        | \bauthorization["']?\s*:\s*["']?(?:\w+\s+)?
        | \bbearer\s+(?=\S{8})(?=\S*\d)
    )(?P<secret>[^\s@'"\\,;]+)
    | \b(?:sk|hf|pk|gsk|xai)[-_][\w*-]{8,}                                  # the forms that providers' keys have
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)S?_?\d*\Z", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """`text` with everything that looks like a key or a password, and every secret of the environment, as `***`."""
    for secret in sorted(_environment(), key=len, reverse=True):
        text = text.replace(secret, BLANK)
    return _PATTERNS.sub(lambda match: f"{match['before'] or ''}{BLANK}", text)


def _environment() -> Iterator[str]:
    """The values of variables whose names end like a secret's, in every form in which a text may hold them."""
    for name, value in os.environ.items():
        if not _SECRET_NAME.search(name):
            continue
        for part in {value, value.strip(), *map(str.strip, value.splitlines())}:
            # As it is, as JSON writes it, and as an error's message quotes it.
            yield from (form for form in {part, json.dumps(part)[1:-1], repr(part)[1:-1]} if len(form) >= _LEAST_CHARS)
