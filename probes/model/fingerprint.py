"""A hash that tells one subject's files from another's without reading gigabytes."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

BLOCKS = 16
BLOCK_BYTES = 64 * 1024
WEIGHTS = (".safetensors", ".npz", ".pt", ".pth", ".gguf")
HEADS = {".gguf": 16 * 1024 * 1024}
"""Bytes at the beginning that count whole: a GGUF file has its configuration and its tokenizer there."""


def fingerprint(
    files: Mapping[str, Path],
    input_scale: float = 1.0,
    front: Sequence[int] | None = None,
    opening: str = "",
    no_bos: bool = False,
) -> str:
    """sha256 over name, size and content of every file; of weights, their head and 16 evenly spaced blocks of 64 KiB.

    And over what the SAE's input is multiplied by, where that is anything, what stands in front of texts, where the
    SAE's files do not decide it, and what stands before a token that is read alone, an opening or, with `no_bos`,
    nothing at all: activations are others with it.
    """
    digest = hashlib.sha256(b"" if input_scale == 1 else f"input scale {input_scale!r}\0".encode())
    digest.update(b"" if front is None else f"front {[*front]!r}\0".encode())
    digest.update(f"opening {opening!r}\0".encode() if opening else b"")
    digest.update(b"no bos\0" if no_bos else b"")
    for name, path in sorted(files.items()):
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        digest.update(_sample(path) if path.suffix in WEIGHTS else path.read_bytes())
    return digest.hexdigest()


def _sample(path: Path) -> bytes:
    """The head, the first block, the last one and those evenly between; the whole file where it is no longer."""
    size, head = path.stat().st_size, HEADS.get(path.suffix, 0)
    if size <= max(head, BLOCKS * BLOCK_BYTES):
        return path.read_bytes()
    with path.open("rb") as file:
        blocks = [file.read(head)]
        for index in range(BLOCKS):
            file.seek((size - BLOCK_BYTES) * index // (BLOCKS - 1))
            blocks.append(file.read(BLOCK_BYTES))
    return b"".join(blocks)
