"""The templates of what explainers are asked, and the one function that renders them.

Whatever is untrusted in a context must come escaped.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).parent
"""The folder of the templates."""
_SUFFIX = ".md.j2"
_folder: ContextVar[Path] = ContextVar("folder", default=FOLDER)


@dataclass(frozen=True)
class Rendered:
    """A prompt, and what it was made from."""

    text: str
    template: str
    hash: str
    """The sha256 of the template's source, in hex."""


def render(name: str, context: Mapping[str, Any]) -> Rendered:
    """Template `name` filled with `context`. Raises jinja2.UndefinedError for whatever the context lacks."""
    folder = _folder.get()
    text = _environment(folder).get_template(name + _SUFFIX).render(context)
    return Rendered(text=text, template=name, hash=_hash(folder, name))


def template_hashes(names: Sequence[str]) -> dict[str, str]:
    """The hash of each of these templates by name: part of a run's identity."""
    return {name: _hash(_folder.get(), name) for name in names}


@contextmanager
def templates_in(folder: Path) -> Iterator[None]:
    """Renders from another folder's templates until the context ends, so that two versions of them can be compared."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


@cache
def _hash(folder: Path, name: str) -> str:
    return hashlib.sha256((folder / (name + _SUFFIX)).read_bytes()).hexdigest()


@cache
def _environment(folder: Path) -> Environment:
    # Prompts are Markdown: HTML escaping would garble them, and the digest escapes evidence for what they are.
    return Environment(
        loader=FileSystemLoader(folder, encoding="utf-8"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        auto_reload=False,
    )
