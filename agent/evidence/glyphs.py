"""Makes text safe to paint: printable, and in characters that the font at hand has.

matplotlib's own fonts lie beside it, so what is escaped does not depend on the machine.
"""

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font

from agent.evidence.printable import escaped, printable


def spelt(text: str, font: str) -> str:
    """Escapes the characters of `text` that `font` lacks."""
    glyphs = _glyphs(font)
    return "".join(character if ord(character) in glyphs else escaped(character) for character in printable(text))


@cache
def _glyphs(font: str) -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=font))).get_charmap())
