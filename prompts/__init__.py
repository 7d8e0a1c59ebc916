"""The templates of what explainers are asked, and the one function that renders them.

Whatever is untrusted in a context must come escaped.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).parent
_SUFFIX = ".md.j2"


@dataclass(frozen=True)
class Rendered:
    """A prompt, and what it was made from."""

    text: str
    template: str
    hash: str
    """The sha256 of the template's source, in hex."""


def render(name: str, context: Mapping[str, Any]) -> Rendered:
    """Template `name` filled with `context`. Raises jinja2.UndefinedError for whatever the context lacks."""
    text = _environment().get_template(name + _SUFFIX).render(context)
    return Rendered(text=text, template=name, hash=_hash(name))


def template_hashes(names: Sequence[str]) -> dict[str, str]:
    """The hash of each of these templates by name: part of a run's identity."""
    return {name: _hash(name) for name in names}


@cache
def _hash(name: str) -> str:
    return hashlib.sha256((_FOLDER / (name + _SUFFIX)).read_bytes()).hexdigest()


@cache
def _environment() -> Environment:
    # Prompts are Markdown: HTML escaping would garble them, and the digest escapes evidence for what they are.
    return Environment(
        loader=FileSystemLoader(_FOLDER, encoding="utf-8"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
        auto_reload=False,
    )
