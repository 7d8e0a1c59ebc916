"""A vocabulary's spelling of tokens -> the text they stand for.

One rule, for each text by itself:
- tokens of which one has a space are text already, and stay as they are;
- else, where a token starts with `▁`, they are SentencePiece's: `▁` is a space, `<0x0A>` the byte 0A;
- else, where a token has `Ġ`, they are in the byte alphabet of GPT-2's tokenizer: each character is a byte. `Ġ` is a
  space there, `Ċ` a line break;
- else they stay as they are.
A character whose bytes lie in several tokens stands in the last of them, so that the joined text is right; bytes that
are no character become U+FFFD.
"""

import codecs
import re
from collections.abc import Callable, Sequence
from functools import cache
from sys import intern

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")


def spelled_out(tokens: Sequence[str]) -> tuple[str, ...]:
    """The text of each token; as many as there are tokens."""
    if any(" " in token for token in tokens):
        return tuple(tokens)
    if any(token.startswith("▁") for token in tokens):
        return _decoded([token.replace("▁", " ") for token in tokens], _sentencepiece_bytes)
    if any("Ġ" in token for token in tokens):
        return _decoded(tokens, _gpt2_bytes)
    return tuple(tokens)


def _decoded(tokens: Sequence[str], bytes_of: Callable[[str], bytes | None]) -> tuple[str, ...]:
    """Tokens that stand for bytes decoded as one stream; the others are left as they are."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = []
    for place, token in enumerate(tokens):
        raw, last = bytes_of(token), place == len(tokens) - 1
        text = decoder.decode(b"", final=True) + token if raw is None else decoder.decode(raw, final=last)
        texts.append(intern(text))
    return tuple(texts)


def _sentencepiece_bytes(token: str) -> bytes | None:
    match = _BYTE_TOKEN.fullmatch(token)
    return bytes.fromhex(match[1]) if match else None


def _gpt2_bytes(token: str) -> bytes | None:
    alphabet = _gpt2_alphabet()
    return bytes(alphabet[c] for c in token) if all(c in alphabet for c in token) else None


@cache
def _gpt2_alphabet() -> dict[str, int]:
    """Bytes by the character that spells them: printable Latin-1 spells itself, the rest follows from U+0100 on."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
