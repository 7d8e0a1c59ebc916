"""Damage to folders of JSON files and tensors, drawn at random, and how often a fuzz test draws.

`FUZZ=2000 pytest tests/test_fuzz_...` draws so many instead of the few of an ordinary run.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from probes.errors import InterpretError

DRAWS = int(os.environ.get("FUZZ", "20"))
often = settings(
    max_examples=DRAWS, deadline=None, derandomize=DRAWS < 100, suppress_health_check=list(HealthCheck), database=None
)
"""Of a fuzz test; the few of an ordinary run are the same every time."""
patient = pytest.mark.timeout(300 + 2 * DRAWS)
"""Of a fuzz test that is to draw many."""

_DEEP: Any = []
for _ in range(300):
    _DEEP = [_DEEP]
VALUES: Sequence[Any] = (
    *(None, True, False, 0, 1, -1, 2, 3, 7, 10**6, 10**9, 10**12, 2**63, 2**64, -(2**63), 10**400),
    *(0.5, -0.0, 1e30, 1e308, float("nan"), float("inf"), -float("inf")),
    *("", "x", "128", "\x00", "\ud800", "../up", "/", "https://x", "a" * 5000, "none", "float8_e4m3fn", "int8"),
    *([], [None], [[]], ["x"], [1, 2], {}, {"x": 1}, {"": {}}, _DEEP),
)
_RAW = (b"", b"[]", b"{", b"null", b"\xff\xfe", b'{"a": ' + b"9" * 5000 + b"}", b"[" * 5000, bytes(64))
_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
_UNREADABLE = (ValueError, OSError, AttributeError, LookupError, RuntimeError, SafetensorError)
"""Of what is to be damaged a second time: it may not be read any more, or the number may not fit."""
_KINDS = (torch.int8, torch.int32, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn, torch.float16)


def outcome(act: Callable[[], object]) -> str | None:
    """The sentence with which it fails, None where it does not; anything but one sentence fails the test."""
    try:
        act()
    except InterpretError as error:
        said = str(error)
        assert len(said.splitlines()) == 1, said
        assert said.endswith("."), said
        assert said.isprintable(), said
        assert len(said) < 2000, said
        return said
    return None


def damage(folder: Path, random: Random, names: Sequence[str] = ()) -> str:
    """Damages one file below the folder or a few, in ways that `random` draws; says how. `names` are keys for JSON."""
    return "; ".join(_damage_one(folder, random, names) for _ in range(random.choice((1, 1, 1, 2, 3))))


def _damage_one(folder: Path, random: Random, names: Sequence[str]) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    if not files:
        return "nothing is left"
    path = random.choice(files)
    way = random.choice((_in_json, _in_json, _in_json, _in_tensors, _in_bytes, _in_kind))
    with suppress(*_UNREADABLE):
        return f"{path.name}: {way(path, random, names)}"
    return f"{path.name}: nothing"


def _in_json(path: Path, random: Random, names: Sequence[str]) -> str:
    if path.suffix != ".json":
        return _in_tensors(path, random, names)
    document = json.loads(path.read_text())
    at, key = random.choice(list(_ways_down(document, random)))
    if random.random() < 0.2 and names:
        at, key = document, random.choice(names)
    value = random.choice(VALUES)
    if random.random() < 0.15:
        del at[key]
    else:
        at[key] = value
    path.write_text(json.dumps(document))
    return f"{key!r} = {value!r:.60}"


def _ways_down(document: Any, random: Random) -> Iterator[tuple[Any, Any]]:
    """The containers and keys on one way down from the root."""
    while isinstance(document, dict | list) and document:
        key = random.choice(list(document)) if isinstance(document, dict) else random.randrange(len(document))
        yield document, key
        document = document[key]


def _in_tensors(path: Path, random: Random, names: Sequence[str]) -> str:  # noqa: ARG001, one signature for all ways
    if path.suffix != ".safetensors":
        return _in_bytes(path, random, ())
    tensors = load_file(path)
    name = random.choice(sorted(tensors))
    tensor = tensors.pop(name)
    where = tuple(random.randrange(n) for n in tensor.shape)
    changes: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
        "left out": dict,
        "renamed": lambda: {random.choice((f"{name}x", "", "x" * 3000, name.replace("0", "9"))): tensor},
        "of another kind": lambda: {name: tensor.to(random.choice(_KINDS))},
        "another shape": lambda: {name: random.choice((tensor[:1], tensor[None], tensor.flatten(), tensor[..., :0]))},
        "turned": lambda: {name: tensor.permute(*reversed(range(tensor.ndim))).contiguous()},
        "not finite": lambda: {name: _with(tensor, where, random.choice((float("nan"), float("inf"), 1e38)))},
        "zeros": lambda: {name: torch.zeros_like(tensor)},
        "one more": lambda: {name: tensor, name.replace("0", "7"): tensor.clone(), "more.weight": torch.ones(2)},
    }
    change = random.choice(sorted(changes))
    save_file(tensors | changes[change](), path, {"format": "pt"})
    return f"{name} {change}"


def _with(tensor: torch.Tensor, where: tuple[int, ...], value: float) -> torch.Tensor:
    tensor[where] = value
    return tensor


def _in_bytes(path: Path, random: Random, names: Sequence[str]) -> str:  # noqa: ARG001
    content = bytearray(path.read_bytes())
    way = random.choice(("cut", "changed", "replaced", "longer"))
    if way == "cut":
        del content[random.randrange(len(content) + 1) :]
    elif way == "changed":
        for _ in range(random.choice((1, 3, 20))):
            content[random.randrange(min(len(content), random.choice((8, 200, 10**6))))] = random.randrange(256)
    elif way == "longer":
        content += bytes(random.randrange(1, 100))
    else:
        content = bytearray(random.choice((*_RAW, _POINTER)))
    path.write_bytes(content)
    return f"{way} bytes"


def _in_kind(path: Path, random: Random, names: Sequence[str]) -> str:  # noqa: ARG001
    way = random.choice(("gone", "folder", "pipe", "dangling", "loop", "out", "elsewhere", "another's"))
    content = path.read_bytes()
    others = sorted(other for other in path.parent.iterdir() if other.is_file() and other != path)
    path.unlink()
    outside = path.parent.parent.parent / f"outside{path.suffix}"
    if way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "dangling":
        path.symlink_to("nowhere")
    elif way == "loop":
        path.symlink_to(path.name)
    elif way == "out":
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif way == "elsewhere":
        path.with_name(random.choice(("x.safetensors", "y.json", "z.bin", "adapter_config.json"))).write_bytes(content)
    elif way == "another's" and others:
        shutil.copy(random.choice(others), path)
    return way
