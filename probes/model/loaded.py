"""Checks that a loaded model is the one that its files hold: nothing missing, nothing left out, all numbers finite.

What transformers does not find it makes up at random, and what it has no use for it passes over, both without a word.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from probes.errors import SubjectError

_COMPUTED = ("inv_freq", "masked_bias", "bias_mask")
"""What older files keep in their layers though it can be computed."""
_IDS = 4
"""Tokens that are read to see whether numbers come out."""


def check_complete(model: PreTrainedModel, report: Mapping[str, Any], folder: Path) -> None:
    """Checks that the files hold all that the model has, and no more within its layers. Raises SubjectError."""
    if wrong := sorted(report["mismatched_keys"]):
        name, stored, wanted = wrong[0]
        raise SubjectError(
            f"The weights in {folder} do not fit its config.json: {name} has shape {list(stored)}, not "
            f"{list(wanted)}; they do not belong together."
        )
    if missing := sorted(map(str, report["missing_keys"])):
        raise SubjectError(f"The weights in {folder} lack {_some(missing)}.")
    if passed_over := sorted(_within_layers(model, report["unexpected_keys"])):
        raise SubjectError(
            f"The weights in {folder} have {_some(passed_over)}, of which its config.json makes no use, so it would be "
            "another model; the two do not belong together."
        )


@torch.inference_mode()
def check_numbers(model: PreTrainedModel, folder: Path) -> None:
    """Checks that all weights are finite, and that a short text gives finite logits that tell tokens apart.

    Raises SubjectError.
    """
    for name, weights in model.named_parameters():
        if weights.is_floating_point() and not weights.sum(dtype=torch.float32).isfinite():
            raise SubjectError(
                f"The weights in {folder} have numbers in {name} that are not finite; download them again, or give "
                "another --dtype."
            )
    table = model.get_input_embeddings().weight
    if len(table) < 2 or not (table != table[:1]).any():
        raise SubjectError(f"The model in {folder} has one embedding for all of its tokens; download it again.")
    ids = torch.arange(min(_IDS, len(table)), device=model.device)[None]
    logits = model(input_ids=ids, use_cache=False).logits.float()
    if logits.isnan().any() or (logits == torch.inf).any():
        raise SubjectError(
            f"The model in {folder} computes numbers that are not finite; check its config.json, or give another "
            "--dtype."
        )
    if logits.max() == logits.min():
        raise SubjectError(f"The model in {folder} gives all tokens the same logit; download it again.")


def _within_layers(model: PreTrainedModel, names: Iterator[str]) -> Iterator[str]:
    """Returns the names that belong to the model's decoder layers, with its base model's prefix or without."""
    base = f"{model.base_model_prefix}."
    stacks = [f"{name}." for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    beginnings = tuple({*stacks, *(stack.removeprefix(base) for stack in stacks)})
    for name in names:
        if name.startswith(beginnings) and name.rpartition(".")[2] not in _COMPUTED:
            yield name


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
