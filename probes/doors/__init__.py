"""Doors: where something made elsewhere comes in (a model folder, an SAE, settings, a corpus, a log, an answer).

Whatever fails behind a door becomes one sentence of ours, so that no list of exception types has to foresee what the
libraries behind it raise. The cause is kept: `--debug` prints it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from probes.errors import InterpretError

_MAX_CAUSE = 200
_OURS_TO_PASS = (InterpretError, KeyboardInterrupt, SystemExit, GeneratorExit)


@contextmanager
def door(error: type[InterpretError], sentence: str) -> Iterator[None]:
    """Turns any failure within into `error` with `sentence`, in which `{cause}` stands for the failure in short.

    Errors of this project pass unchanged, as do Ctrl-C and the end of the process. Panics of libraries written in Rust
    are no `Exception`, hence the wide net.
    """
    try:
        yield
    except _OURS_TO_PASS:
        raise
    except BaseException as cause:
        raise error(sentence.replace("{cause}", brief(cause))) from cause


def brief(cause: BaseException) -> str:
    """The first line of what `cause` says, at most 200 characters, without a full stop; else the name of its type.

    A line that ends in a colon has the next one behind it.
    """
    text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)  # without number and path
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1]).rstrip(".")
    return shown(said) if said else type(cause).__name__


def shown(text: str, most: int = _MAX_CAUSE) -> str:
    """`text` fit to stand in a sentence: no longer than that, and without signs that do not print."""
    text = "".join(sign if sign.isprintable() else "?" for sign in text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}..."
