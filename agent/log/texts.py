"""Texts that many rows refer to, each kept once, and texts compressed by what they have in common with one of those.

All trees of a log are much alike: the first of a kind are kept as they are, one after the other, as a preset dictionary
by which zlib compresses all that follow. Prompts and answers are not compressed: SQL alone is to read them.
"""

import hashlib
from typing import NamedTuple

from sqlite_utils import Database

from agent.log.rows import compressed, escape, find_id, first, insert

_LATEST = "SELECT id, text FROM texts WHERE id = (SELECT max(id) FROM texts WHERE kind = :kind)"
_LONG = 8_000
"""Characters from which on a dictionary grows no more: of the demo's trees two."""


class PackedText(NamedTuple):
    """A compressed text, and by which row of `texts`."""

    payload: bytes
    dictionary_id: int


def shared_text(db: Database, kind: str, text: str) -> int:
    """Returns the id of a text, kept if it is not yet."""
    key = {"kind": kind, "sha256": hash_of_text(escape(text))}
    found = find_id(db, "texts", key)
    return insert(db, "texts", {**key, "text": text}) if found is None else found


def pack_text(db: Database, kind: str, text: str) -> PackedText:
    """Compresses a text by the dictionary of its kind; to a short one the text is added first, as a new row."""
    found = first(db, _LATEST, kind=kind)
    if found is not None and len(found["text"]) >= _LONG:
        return PackedText(compressed(text, found["text"]), found["id"])
    dictionary = text if found is None else found["text"] + text
    return PackedText(compressed(text, dictionary), shared_text(db, kind, dictionary))


def hash_of_text(stored: str) -> str:
    """Returns the sha256 by which a text is known, of its stored form."""
    return hashlib.sha256(stored.encode()).hexdigest()
