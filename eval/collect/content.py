"""Fingerprints the content of files: the same path with other texts in it is another source of examples.

Of a corpus the front is what counts, since a pass reads from the front and mostly ends long before a huge file does;
times of change are left out, for a copy changes them and no text.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

FRONT_BYTES = 1 << 27
"""Of a corpus, read in a fraction of a second: some 30 million tokens, where a pass reads one by default."""
_PIECE_BYTES = 1 << 20


def content_of(files: Iterable[Path], front_bytes: int | None = None) -> str:
    """A hash over the sizes of the files, in their order, and over what is in them; of that, the front at most.

    Names are left out. A change behind the front that leaves all sizes as they are is not seen.
    """
    digest = hashlib.sha256()
    left = front_bytes
    for file in files:
        digest.update(f"{file.stat().st_size}\0".encode())
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE_BYTES if left is None else min(left, _PIECE_BYTES)):
                digest.update(piece)
                left = None if left is None else left - len(piece)
    return digest.hexdigest()[:16]
