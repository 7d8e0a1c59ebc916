"""Small text files that users write: settings, lists of features, labels. Read whole, each failure one sentence."""

import stat
from pathlib import Path

from probes.doors import door
from probes.errors import InterpretError

MAX_BYTES = 1 << 28
"""256 MiB: more than any of these files has a use for."""


def read_text(path: Path, what: str, error: type[InterpretError]) -> str:
    """Reads a UTF-8 file, without its byte order mark; `what` begins the sentence of the error if it cannot be read.

    Anything but a file is refused: opening a named pipe would wait for ever.
    """
    with door(error, f"{what} {path} cannot be read: {{cause}}."):
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise error(f"{what} {path} is not a file; name one.")
        if found.st_size > MAX_BYTES:
            raise error(f"{what} {path} is larger than {MAX_BYTES >> 20} MiB; name a smaller one.")
        content = path.read_bytes()
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as cause:
            raise error(f"{what} {path} is not UTF-8, from byte {cause.start + 1} on; save it as UTF-8.") from cause
