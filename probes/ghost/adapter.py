"""A fitted adapter, f(r) = scale * r + bias, and the file it is kept in with the record of its training.

After K. Pepper et al., "Learning Self-Interpretation from Interpretability Artifacts" (arXiv 2602.10352, 2026): d_model
+ 1 numbers that make a direction fit to stand where an embedding row stands, the model itself left as it is. The file
is safetensors; nothing in it is executed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from safetensors.torch import load, save
from torch import Tensor

from probes.doors import door
from probes.doors.outputs import check_output, written
from probes.errors import SettingsError
from probes.presets import SubjectCard
from probes.settings import VOCABULARY, WORDS, AdapterFile, TreeSettings, Value, adapter_bytes, checked_weights

LABEL = "{label}"
Learn = Literal["both", "scale", "bias"]
_FORMAT = "sae-interpret adapter 1"
_NOT_ONE = "is not an adapter that this version knows, or is damaged; interpret fit makes them."


class FitSettings(Value):
    """Settings of an adapter's fit."""

    weights: str = VOCABULARY
    """Of the directions r: `vocabulary`, `encoder`, `decoder` or `blend:b`."""
    prompt: str = "definition"
    """The base prompt after which a label is to come."""
    wording: str = "a kind of {label}"
    """What is to come: what stands before `{label}` is given, the label and what follows it are learned."""
    learn: Learn = "both"
    """Which of the numbers are fitted; the others stay where the unfitted vector has them."""
    steps: int = Field(default=300, ge=1, le=100_000)
    """Most steps."""
    patience: int = Field(default=60, ge=1)
    """Steps without a better loss on the validation part, after which fitting ends."""
    batch: int = Field(default=32, ge=1, le=4096)
    """Labels that the model reads at a time."""
    learning_rate: float = Field(default=0.03, gt=0, le=10)
    """Adam's, as a share of the distance of an ordinary embedding row from the centroid."""
    seed: int = Field(default=0, ge=0)
    """Of the split and of the order of labels."""

    @field_validator("weights")
    @classmethod
    def _weights_are_known(cls, weights: str) -> str:
        if weights == WORDS:
            raise ValueError(
                f"an adapter is fitted to one vector a feature, and {WORDS} are several; take {VOCABULARY}"
            )
        return checked_weights(weights)

    @field_validator("prompt")
    @classmethod
    def _prompt_is_one(cls, prompt: str) -> str:
        return TreeSettings.parse({"prompt": prompt}).prompt

    @field_validator("wording")
    @classmethod
    def _wording_has_one_label(cls, wording: str) -> str:
        if wording.count(LABEL) != 1:
            raise ValueError(f"a wording has exactly one {LABEL}, as in 'a kind of {LABEL}'")
        return wording


class PartRecord(Value):
    """One part of the labels."""

    features: tuple[int, ...]
    start: tuple[float, ...]
    """Mean nats per learned token of each feature's label, with the unfitted vector."""
    end: tuple[float, ...]
    """Likewise, with the adapter."""


class FitRecord(Value):
    """The record of an adapter's making, kept in its file."""

    subject: str
    fingerprint: str
    d_model: int
    labels: str
    """Where they came from."""
    settings: FitSettings
    steps: int
    """After which the loss on the validation part was least; 0 where no step made it less."""
    train: PartRecord
    validation: PartRecord
    """That said when to stop."""
    held_out: PartRecord
    versions: Mapping[str, str | None]
    created: str
    """UTC, ISO 8601."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """f(r) = scale * r + bias for unit directions r, in units of stored embedding rows, float32."""

    scale: float
    bias: Float[Tensor, " d_model"]
    record: FitRecord

    def __call__(self, unit: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
        """The vectors of unit directions."""
        return self.scale * unit + self.bias.to(unit.device)


def check_free(path: Path) -> None:
    """Raises SettingsError or OutputError where an adapter cannot be written, before one is fitted."""
    if os.path.lexists(path):
        raise _taken(path)
    check_output(path)


def _taken(path: Path) -> SettingsError:
    return SettingsError(f"{path} exists already, and runs may rest on it; name another file.")


def write_adapter(path: Path, adapter: Adapter) -> AdapterFile:
    """Keeps the adapter with its record; the file as settings name it. Raises SettingsError for one taken, OutputError.

    Settings of runs name an adapter by its content, so a file is never replaced.
    """
    tensors = {"scale": torch.tensor(adapter.scale), "bias": adapter.bias.cpu().contiguous()}
    content = save(tensors, {"format": _FORMAT, "record": adapter.record.model_dump_json()})
    check_free(path)
    with written(path) as file:
        file.write(content)
    return AdapterFile(path=str(path), sha256=hashlib.sha256(content).hexdigest())


def read_adapter(file: AdapterFile, card: SubjectCard) -> Adapter:
    """The adapter in a file, which must be what it was when the settings were made, and fitted to this subject.

    Raises SettingsError.
    """
    content = adapter_bytes(file.path)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise SettingsError(
            f"Adapter {file.path} is not the file that these settings were made with (sha256 {file.sha256[:12]}); "
            "bring that one back or begin anew with --adapter."
        )
    adapter = _parsed(file.path, content)
    if adapter.record.fingerprint != card.fingerprint or adapter.record.d_model != card.d_model:
        raise SettingsError(
            f"Adapter {file.path} was fitted to {adapter.record.subject}, not to {card.name} as it is here; fit one "
            "with interpret fit."
        )
    return adapter


def fitted_weights(path: str) -> str:
    """The weights that the adapter in a file was fitted to. Raises SettingsError."""
    return str(_parsed(path, adapter_bytes(path)).record.settings.weights)


def _parsed(path: str, content: bytes) -> Adapter:
    """The adapter that the bytes of a file are. Raises SettingsError."""
    with door(SettingsError, f"{path} {_NOT_ONE}"):
        tensors = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
        record = FitRecord.model_validate_json(metadata.get("record", ""))
    if metadata.get("format") != _FORMAT:
        raise SettingsError(f"{path} {_NOT_ONE}")
    scale, bias = tensors.get("scale"), tensors.get("bias")
    if any(tensor is not None and not tensor.is_floating_point() for tensor in (scale, bias)):
        raise SettingsError(f"Adapter {path} does not hold floating-point numbers; it is damaged.")
    if scale is None or bias is None or scale.shape != () or bias.shape != (record.d_model,):
        raise SettingsError(
            f"Adapter {path} does not hold one scale and a bias of {record.d_model} numbers; it is damaged."
        )
    if not (scale.isfinite() and bias.isfinite().all()):
        raise SettingsError(f"Adapter {path} holds numbers that are not finite; it is damaged.")
    return Adapter(float(scale), bias.float(), record)
