"""Holds a model's declared sizes against the weights that are stored, before anything of its size is made.

A count of layers that no file holds would be built for hours, and a width that none has fill the memory.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from probes.doors import door
from probes.errors import SubjectError
from probes.model.stored_weights import StoredWeights

_COUNT = re.compile(r"(num|n)_(\w+_)?(layers?|blocks?|experts)")
_SIZE = re.compile(r"(hidden|vocab)_size|head_dim|n_embd|n_head|n_layers?|num_(hidden_layers|\w*_heads)|d_model")
_MORE = re.compile(r"\w*intermediate_size|n_(inner|positions|ctx)|max_position_embeddings|d_ff|\w+_(dim|rank)")
"""Sizes that some families set to 0 or less, which means none."""
_CODE = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
"""What may name code on the hub, as OWNER/NAME."""
_DTYPES = ("dtype", "torch_dtype")
_MAX_COUNTED = 1024
"""Layers or experts that any model may declare; with more it must hold as many tensors."""
_LARGEST_SIZE = 2**24
"""Likewise of sizes and numbers."""
_BUFFERS = 2**30
"""Numbers that a model may keep beside its weights, such as masks and tables of positions."""


def check_config(config: Mapping[str, Any], place: str, n_tensors: int, n_numbers: int) -> None:
    """Checks that sizes are whole numbers that the weights bear out, and that no code is asked for. Raises
    SubjectError.

    `config` is what config.json holds; `place` names it in messages.
    """
    if config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING:
        raise SubjectError(f"{place}: this model needs code of its own (auto_map), which is never run; take another.")
    for key, value in _entries(config):
        if key in _CODE and "/" in str(value):
            raise SubjectError(f"{place}: {key} {value!r:.100} names code on the hub, which is never run; remove it.")
        if key.endswith("_config") and not isinstance(value, dict | None):
            raise SubjectError(f"{place}: {key} is {value!r:.100} instead of an object.")
        if _SIZE.fullmatch(key) and not _is_size(value):
            raise SubjectError(f"{place}: {key} is {value!r:.100} instead of a positive whole number.")
        if key in _DTYPES and not _is_dtype(value):
            raise SubjectError(f"{place}: {key} is {value!r:.100}, which is no type of numbers in PyTorch.")
        if key == "layer_types" and not isinstance(value, list | None):
            raise SubjectError(f"{place}: layer_types is {value!r:.100} instead of a list.")
        most = _limit(key, n_tensors, n_numbers)
        if isinstance(value, int) and value > most:
            raise SubjectError(
                f"{place}: {key} is {value:.4g}, more than the {n_tensors:,} tensors with {n_numbers:,} numbers there "
                "can be; download the model again."
            )


def declared(config: Any, folder: Path) -> PreTrainedModel:
    """The model that a configuration declares, without numbers and without taking memory. Raises SubjectError."""
    with (
        door(SubjectError, f"The model in {folder} cannot be built as its config.json says: {{cause}}."),
        torch.device("meta"),
    ):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return model


def check_size(model: PreTrainedModel, place: str, n_numbers: int) -> None:
    """Checks that a declared model has about as many weights as its files. Raises SubjectError.

    Where a few are missing the model can be built, and then it can be said which.
    """
    wanted = sum(weights.numel() for weights in model.parameters())
    beside = sum(buffer.numel() for buffer in model.buffers())
    if wanted > _LARGEST_SIZE + 2 * n_numbers or beside > max(_BUFFERS, n_numbers):
        raise SubjectError(
            f"{place} declares a model of {wanted + beside:,} numbers, but the weights hold {n_numbers:,}; they do not "
            "belong together, so download the model again."
        )


def check_kinds(model: PreTrainedModel, stored: StoredWeights) -> None:
    """Checks that all weights are stored as floating-point numbers. Raises SubjectError.

    What older files keep beside weights, such as masks, may be anything.
    """
    leaves = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
    beside = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    for name, tensor in stored.tensors.items():
        is_weight = name.rpartition(".")[2] in leaves and not any(pattern.search(name) for pattern in beside)
        if is_weight and not tensor.is_floating:
            raise SubjectError(
                f"Model weights {tensor.file}: {name} is of type {tensor.kind}, not of floating-point numbers that can "
                "be computed with; take a copy in float32, bfloat16 or float16."
            )


def _limit(key: str, n_tensors: int, n_numbers: int) -> float:
    if _COUNT.fullmatch(key):
        return max(_MAX_COUNTED, n_tensors)
    return max(_LARGEST_SIZE, n_numbers) if _SIZE.fullmatch(key) or _MORE.fullmatch(key) else float("inf")


def _is_size(value: Any) -> bool:
    """A positive whole number, one for each layer, or none where a family has its own."""
    if isinstance(value, list):
        return all(_is_size(each) for each in value)
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def _is_dtype(value: Any) -> bool:
    """None, a type's name, or an object of them for a model's parts."""
    if value is None or isinstance(value, dict):
        return True
    name = value.removeprefix("torch.") if isinstance(value, str) else ""
    return name == "auto" or isinstance(getattr(torch, name, None), torch.dtype)


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All entries of an object and of those in it."""
    for key, value in config.items():
        yield key, value
        if isinstance(value, dict):
            yield from _entries(value)
