"""Makes text from outside (tokens, labels, a model's answers, error texts) safe to print.

Replaces only characters that could move a cursor, or hide or reorder text.
"""

import unicodedata

_SHOWN_AS = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories without a glyph of their own: controls, formats (bidi overrides, zero widths), lone surrogates,
private use, unassigned, line and paragraph separators."""


def printable(text: str) -> str:
    r"""Returns `text` on one line, characters without a glyph as escapes: `\n`, `\x1b`, `\u202e`, `\U000e0041`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in _HIDDEN:
        return character
    return _SHOWN_AS.get(character) or escaped(character)


def escaped(character: str) -> str:
    """Writes one character as Python's escape."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
