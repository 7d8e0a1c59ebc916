"""Any Python string as text that SQLite and every SQLite browser can hold, and back without loss.

SQLite's text is UTF-8, which has no lone surrogates (a byte-level tokenizer's half of an emoji decodes to one), and
most tools cut a text at its first NUL. Both are written as ␛ and four hex digits, and so is ␛ itself; all else is
left as it is.
"""

import re

_MARK = "\N{SYMBOL FOR ESCAPE}"
_UNSTORABLE = re.compile(f"[\0\ud800-\udfff{_MARK}]")
_ESCAPED = re.compile(f"{_MARK}([0-9a-f]{{4}})")


def escape(text: str) -> str:
    """`text` without lone surrogates and NULs."""
    return _UNSTORABLE.sub(lambda match: f"{_MARK}{ord(match[0]):04x}", text)


def unescape(stored: str) -> str:
    """The text that `escape` was given."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), stored)
