"""Two hundred megabytes of nothing that are 200 kB on the wire."""

import gzip
from functools import cache


@cache
def gzip_bomb() -> bytes:
    """The same bytes at each call; packing takes a second, which only tests that send them wait for."""
    return gzip.compress(bytes(200_000_000), 9)
