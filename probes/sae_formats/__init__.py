"""Published formats of SAEs, each found by its own files. The table of them, and the one function that reads any."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from probes.doors import door
from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_formats import (
    circuit_tracer,
    dictionary_learning,
    gemma_scope,
    gemma_scope_2,
    gemma_scope_2_clt,
    goodfire,
    llama_scope,
    openai,
    qwen_scope,
    saelens,
    sparsify,
)
from probes.sae_formats.base import PICKLES, Format, SaeFiles, SaePlace

FORMATS: dict[str, Format] = {
    "sparsify": sparsify,  # before saelens: it has a cfg.json too
    "saelens": saelens,
    "gemma_scope": gemma_scope,
    "gemma_scope_2": gemma_scope_2,
    "gemma_scope_2_clt": gemma_scope_2_clt,
    "circuit_tracer": circuit_tracer,
    "llama_scope": llama_scope,
    "dictionary_learning": dictionary_learning,
    "qwen_scope": qwen_scope,
    "openai": openai,
    "goodfire": goodfire,
}
SAE_FILES = tuple(dict.fromkeys(name for known in FORMATS.values() for name in known.FILES))
"""File names that are downloaded when a repository's folder is named; a pickle has to be named itself."""
SAE_SUFFIXES = (*PICKLES, ".npz", ".safetensors")
"""Endings of files that may be named directly, instead of their folder."""
_DEPTH = 3
"""Folders down which SAEs are looked for where one was named that holds none itself."""


@dataclass(frozen=True)
class StoredSAE:
    """An SAE and where it came from."""

    sae: SAE
    format: str
    files: dict[str, Path]
    """All that decides what it does, by names that are the same on every machine."""


def read_sae(path: Path) -> SAE:
    """The SAE in a folder or file. Raises SubjectError."""
    return read_stored(path).sae


def read_stored(path: Path, target: int | None = None) -> StoredSAE:
    """The SAE in a folder, or a file, in whichever format of `FORMATS` it is; with `target`, a cross-layer transcoder's
    decoder for that layer alone.

    Raises SubjectError where none is found, or a file or tensor is missing, damaged, of another shape than the rest
    says, or of a kind of SAE that is not supported.
    """
    with door(SubjectError, f"The SAE in {path} cannot be read: {{cause}}; check or download its files."):
        place = SaePlace(path.parent, path.name) if path.is_file() else SaePlace(path)
        name, files = _found(place)
        sae, ending = FORMATS[name].read(files), ""
        if target is not None:
            sae, ending = sae.at_target(target), f"@{target}"
        return StoredSAE(sae, name, {name + ending: files.folder / name for name in files.names})


def _found(place: SaePlace) -> tuple[str, SaeFiles]:
    for name, known in FORMATS.items():
        if files := known.find(place):
            return name, files
    raise SubjectError(_nothing(place))


def _nothing(place: SaePlace) -> str:
    if place.file is not None:
        return f"SAE file {place.folder / place.file} has the form of no known format ({', '.join(FORMATS)})."
    inside = sorted(set(_inside(place.folder, _DEPTH)))
    if inside:
        some = ", ".join(inside[:4]) + (", ..." if len(inside) > 4 else "")
        return f"SAE folder {place.folder} holds SAEs in subfolders ({some}); name one as {place.folder}:{inside[0]}."
    if halves := next(_halves(place), None):
        weights, config = halves
        return (
            f"SAE folder {place.folder} has {weights} but no {config}, which says how to read it; copy or download it "
            "there."
        )
    others = ", ".join(name for name in SAE_FILES if name != saelens.CONFIG)
    return (
        f"SAE folder {place.folder} has no {saelens.CONFIG}; nor has it {others} or a pickle of a known "
        "format; give an SAE's own folder or file, or REPO:SUBFOLDER or REPO:FILE on the hub."
    )


def _halves(place: SaePlace) -> Iterator[tuple[str, str]]:
    """Weights that are there, and the configuration that belongs to them and is not."""
    for known in FORMATS.values():
        if len(known.FILES) > 1 and not place.has(known.FILES[0]):
            yield from ((name, known.FILES[0]) for name in known.FILES[1:] if place.has(name))


def _inside(folder: Path, depth: int) -> Iterator[str]:
    """Folders below that hold a file an SAE may have."""
    for below in range(1, depth + 1):
        for name in SAE_FILES:
            for path in folder.glob("/".join(["*"] * below + [name])):
                yield path.relative_to(folder).as_posix().removesuffix(f"/{name}")
