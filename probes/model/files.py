"""Chooses the files of a model folder that are read, checks each, and gives a view of the folder with these alone.

transformers goes by what it finds in a folder and by paths that are written within its files (shards, adapters, code).
It is shown the view instead, so that all it can read was looked at here and is in the subject's fingerprint.
"""

import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from probes.doors import door
from probes.errors import SubjectError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tiktoken.model",
)
"""Files of which one at least makes a tokenizer."""
TOKENIZER = (
    *VOCABULARIES,
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template*",
    "additional_chat_templates/*.jinja",
)
PATTERNS = (CONFIG, "*.safetensors", INDEX, *TOKENIZER)
"""Of the files that are asked of the hub."""
_GENERATION = "generation_config.json"
"""How its authors would have text drawn; nothing is drawn here, but damage there is damage."""
_OBJECTS = (CONFIG, INDEX, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", _GENERATION)
_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_JSON = 64 * 1024 * 1024
"""Bytes; the index of a model with a hundred thousand tensors is a tenth of it."""


def files_of(folder: Path) -> dict[str, Path]:
    """Every file that decides what the model in the folder does, by its name there. Raises SubjectError."""
    names = [name for name in (CONFIG, *_weights(folder), *_tokenizer(folder)) if os.path.lexists(folder / name)]
    if os.path.lexists(folder / _GENERATION):
        checked(folder, _GENERATION)
    return {name: checked(folder, name) for name in dict.fromkeys(names)}


def checked(folder: Path, name: str) -> Path:
    """The file of that name in the folder. Raises SubjectError where it is elsewhere, no file, or not what it seems."""
    path = folder / name
    with door(SubjectError, f"Model file {path} cannot be read: {{cause}}; check the file, or download it again."):
        if not _is_within(path, folder):
            raise SubjectError(f"Model file {path} leads out of its folder, to {path.resolve()}; put the file there.")
        if not path.exists():
            raise SubjectError(f"Model folder {folder} has no {name}; download it again.")
        if not stat.S_ISREG(path.stat().st_mode):
            raise SubjectError(f"Model file {path} is no ordinary file; put the model's own there.")
        with path.open("rb") as file:
            head = file.read(len(_POINTER))
        if head == _POINTER:
            raise SubjectError(f"Model file {path} is only a pointer of git-lfs; fetch the file by: git lfs pull.")
        if name in VOCABULARIES and path.suffix == ".json" and not head.lstrip().startswith(b"{"):
            raise SubjectError(f"Model file {path} does not begin as a JSON object; download it again.")
        if name in _OBJECTS:
            read_object(path)
    return path


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises SubjectError."""
    with door(SubjectError, f"Model file {path} cannot be read as JSON: {{cause}}; download it again."):
        if path.stat().st_size > _LARGEST_JSON:
            raise SubjectError(f"Model file {path} is larger than any such file is; download it again.")
        data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise SubjectError(f"Model file {path} holds no JSON object but {_kind(data)}; download it again.")
    return data


def weight_map(folder: Path) -> dict[str, str]:
    """Reads from the folder's index which shard holds which tensor. Raises SubjectError."""
    path = folder / INDEX
    index = read_object(checked(folder, INDEX))
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise SubjectError(f"Model file {path} has no weight_map of tensors and their files; download it again.")
    if not isinstance(index.get("metadata"), dict):
        raise SubjectError(f"Model file {path} has no metadata, an object; download it again.")
    for name in shards.values():
        if not isinstance(name, str) or not _is_plain(name):
            raise SubjectError(
                f"Model file {path} names {name!r:.100}, which is no .safetensors file within the folder; only such "
                "are read."
            )
    return shards


@contextmanager
def view_of(files: Mapping[str, Path]) -> Iterator[Path]:
    """A folder of these files and no others, for as long as it lasts."""
    with tempfile.TemporaryDirectory(prefix="interpret-model-") as folder:
        for name, path in files.items():
            place = Path(folder) / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
        yield Path(folder)


def _weights(folder: Path) -> Sequence[str]:
    """The one file of weights, or the index and its shards; nothing where there is neither."""
    if os.path.lexists(folder / WEIGHTS) or not os.path.lexists(folder / INDEX):
        return (WEIGHTS,)
    shards = sorted(set(weight_map(folder).values()))
    for shard in shards:
        checked(folder, shard)
    return (INDEX, *shards)


def _tokenizer(folder: Path) -> Iterator[str]:
    """Names of its files; a folder that is called like one is none, unless it stands in the file's place."""
    for pattern in TOKENIZER:
        found = (path for path in folder.glob(pattern) if "*" not in pattern or not path.is_dir())
        yield from sorted(path.relative_to(folder).as_posix() for path in found)


def _is_plain(name: str) -> bool:
    """Tells whether the name is of a .safetensors file below the folder, whatever the operating system."""
    parts = PurePosixPath(name).parts
    is_path = name.isprintable() and "\\" not in name and ":" not in name and not name.startswith(("/", "~"))
    return is_path and ".." not in parts and name.endswith(".safetensors")


def _is_within(path: Path, folder: Path) -> bool:
    """Tells whether the file lies in the folder itself, or in a cache of the hub, whose folders are links to its
    blobs.
    """
    there = path.resolve()
    if there.is_relative_to(folder.resolve()):
        return True
    return there.parent.name == "blobs" and there.parent.parent.name.startswith("models--")


def _kind(data: Any) -> str:
    return {list: "a list", str: "a string", bool: "true or false", type(None): "null"}.get(type(data), "a number")
