"""SAEs as arrays, laid out by hand, and the parts that formulas of any format are made of, in plain NumPy.

Shares no code with the readers.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from probes.sae_config import Hook

D, N = 12, 30
Array = np.ndarray[Any, np.dtype[np.float32]]
_RANDOM = np.random.default_rng(11)


def made(*shape: int) -> Array:
    return _RANDOM.normal(size=shape).astype(np.float32)


E, W, BE, BD = made(D, N), made(N, D), made(N), made(D)
"""Encoder [d, N], decoder [N, d] and their biases."""
TH, SKIP = np.abs(made(N)), made(D, D)
GATE, MAG, R = made(N), made(N), made(N)
NORMS: Array = np.linalg.norm(W, axis=1)
K = 4


@dataclass(frozen=True)
class Case:
    """One SAE: how it is written, and what it does."""

    format: str
    kind: str
    write: Callable[[Path], Path]
    """Writes it below a folder; what is to be read."""
    encode: Callable[[Array], Array]
    decode: Callable[[Array, Array], Array]
    """From features and input."""
    hook: Hook
    hook_out: Hook | None = None


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def top(x: Array, k: int = K) -> Array:
    kept = np.argsort(-x, axis=1)[:, :k]
    found = np.zeros_like(x)
    np.put_along_axis(found, kept, np.take_along_axis(x, kept, 1), 1)
    return relu(found)


def jump(x: Array, threshold: Array | float) -> Array:
    return np.where(x > threshold, relu(x), 0)


def plain(features: Array, _x: Array) -> Array:
    return features @ W + BD


def constant(x: Array) -> Array:
    """Of norm sqrt(d)."""
    return x * D**0.5 / np.linalg.norm(x, axis=1, keepdims=True)


def normed(x: Array) -> tuple[Array, Array, Array]:
    """Layer-normed as OpenAI's code does it, and what undoes it there, which leaves out the 1e-5."""
    mean = x.mean(1, keepdims=True)
    std = (x - mean).std(1, ddof=1, keepdims=True)
    return (x - mean) / (std + 1e-5), mean, std


POST = Hook(1, "post")
LENS_TENSORS = {"W_enc": E, "W_dec": W, "b_enc": BE, "b_dec": BD}
MLP_IN, MLP_OUT = Hook(1, "mlp_in"), Hook(1, "mlp_out")


def pre(x: Array) -> Array:
    """Pre-activations, the decoder's bias taken off the input."""
    return (x - BD) @ E + BE


def by_norm(features: Array, x: Array) -> Array:
    """Decoded where activations were multiplied by the length of the decoder's rows."""
    return plain(features / NORMS, x)


def json_and(folder: Path, name: str, config: Mapping[str, Any], file: str, tensors: Mapping[str, Array]) -> Path:
    """Writes a configuration and a file of tensors into a folder."""
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(config))
    save_file({key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, folder / file)
    return folder


def pickled(name: str, tensors: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Callable[[Path], Path]:
    """A `torch.save` of a dictionary, with a `config.json` where one is given; what is to be read is the file."""

    def turned(value: Any) -> Any:
        return torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value

    def write(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({key: turned(value) for key, value in tensors.items()}, path)
        if config is not None:
            (path.parent / "config.json").write_text(json.dumps(config))
            return path.parent
        return path

    return write


def safetensors(path: Path, tensors: dict[str, Any]) -> Path:
    """Writes a file of tensors; the folder it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    return path.parent
