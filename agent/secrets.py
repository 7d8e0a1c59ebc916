"""Blanks keys and passwords in whatever is about to be stored or printed.

What looks like a key is blanked in error texts and commands alone. What a model says is about anything, assignments and
identifiers included: there only the secrets that this process itself holds are blanked.
"""

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

BLANK = "***"
_MIN_CHARS = 8
"""Shorter values stand in ordinary text too often to be blanked."""

_PATTERNS = re.compile(
    r"""(?P<before>
        ://(?:[^\s/@:]*:)?(?=[^\s/@:'"\\]+@)                               # a password in a URL, or a token alone
        | (?<![\w-])--(?!text-key\b)[\w-]{0,40}(?:key|token|secret|password)[=\s]\s*       # the value of an option
        | (?:key|token|secret|password)=                                    # an assignment
        | (?:api|access|auth|secret)[-_]?(?:key|token)["']?\s*:\s*["']?     # a header, or a field of JSON
        | \bauthorization["']?\s*:\s*["']?(?:\w+\s+)?
        | \bbearer\s+(?=\S{8})(?=\S*\d)
    )(?P<secret>[^\s@'"\\,;]+)
    | \b(?:sk|hf|pk|gsk|xai)(?:-|_(?=[\w*-]*[\d*]|[a-z]{16}\b))[\w*-]{8,}   # the forms that providers' keys have
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)S?_?\d*\Z", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Returns an error or a command with `***` for anything like a key or a password, and for every secret held."""
    return _PATTERNS.sub(lambda match: f"{match['before'] or ''}{BLANK}", without_held_secrets(text))


def without_held_secrets(text: str) -> str:
    """Returns a model's text with `***` for every secret of the environment; nothing else is touched."""
    for secret in sorted(_environment(), key=len, reverse=True):
        text = text.replace(secret, BLANK)
    return text


def _environment() -> Iterator[str]:
    """Returns the values of variables named like secrets, in every form in which a text may hold them."""
    for name, value in os.environ.items():
        if not _SECRET_NAME.search(name):
            continue
        for part in {value, value.strip(), *map(str.strip, value.splitlines())}:
            # As it is, as JSON writes it in either way, and as an error's message quotes it.
            quoted = json.dumps(part)[1:-1]
            forms = {part, quoted, quoted.replace("/", "\\/"), repr(part)[1:-1]}
            yield from (form for form in forms if len(form) >= _MIN_CHARS)


class _BlankedRecord(logging.LogRecord):
    """A log record without secrets in its message and its traceback."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[0]:
            self.exc_text = without_secrets("".join(traceback.format_exception(*self.exc_info)).rstrip())

    def getMessage(self) -> str:  # noqa: N802
        return without_secrets(super().getMessage())


def blank_output() -> None:
    """Keeps secrets out of log records and tracebacks from here on, in the whole process: for programs alone."""
    logging.setLogRecordFactory(_BlankedRecord)
    sys.excepthook = _crashed


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace))))
