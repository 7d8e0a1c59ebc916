"""A model and its tokenizer, read from a folder in the Hugging Face format onto one device or several.

Knows no hub, no SAE and nothing of what is done with a model.
"""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.quantizers.auto import AutoHfQuantizer
from transformers.utils import logging as transformers_logging

from probes.errors import SubjectError
from probes.presets import Quantise
from probes.products import use_onednn
from probes.structure import d_model

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_QUANTISERS = {"bitsandbytes": "bitsandbytes", "gptq": "gptqmodel", "awq": "gptqmodel", "torchao": "torchao"}
"""Packages that ways of quantising need, by transformers' names of the ways."""


def load_config(folder: Path) -> Any:
    """The model's configuration. Raises SubjectError."""
    if not (folder / "config.json").is_file():
        raise SubjectError(f"Model folder {folder} has no config.json; give a model in the Hugging Face format.")
    with _explained(folder, "model's configuration"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def load_model(
    folder: Path,
    device: torch.device,
    dtype: str = "auto",
    device_map: str | dict[str, Any] | None = None,
    quantise: Quantise | None = None,
) -> PreTrainedModel:
    """The model, ready to be read, as a whole on `device` or spread as accelerate's `device_map` says.

    `dtype` auto is bf16 on an accelerator and float32 on a CPU; `quantise` makes whole numbers of the matrices within
    its layers. Raises SubjectError.
    """
    if not any(folder.glob("*.safetensors")):
        raise SubjectError(f"Model folder {folder} has no weights in .safetensors, the only form that is read.")
    is_quantised = _check_quantiser(folder, quantise)
    if is_quantised or device_map:
        _require("accelerate", f"Model {folder} is {'quantised' if is_quantised else 'to be spread over devices'}")
    place = {"": device} if is_quantised and not device_map else device_map
    by_default = torch.float32 if device.type == "cpu" else torch.bfloat16
    with _explained(folder, "model"):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=_DTYPES.get(dtype, by_default),
            device_map=place,
            **_quantisation(quantise),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    if report["missing_keys"]:
        raise SubjectError(f"The weights in {folder} lack {', '.join(sorted(report['missing_keys'])[:3])}.")
    _check_places(model, folder)
    model.requires_grad_(False)
    use_onednn(model)
    loaded: PreTrainedModel = model.eval() if place else model.eval().to(device)
    return loaded


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer. Raises SubjectError."""
    with _explained(folder, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    return tokenizer


def stored_rows(model: PreTrainedModel) -> Float[Tensor, "vocab d_model"]:
    """The input embedding's rows in float32: a copy, but for a model in float32, whose own they are.

    Of 256,000 rows of 2,048 numbers the copy is 2 GB. Raises SubjectError where rows are no vectors of the stream.
    """
    rows: Tensor = model.get_input_embeddings().weight
    if rows.shape[-1] != d_model(model):
        raise SubjectError(
            f"The model embeds tokens in {rows.shape[-1]} dimensions but computes in {d_model(model)}; "
            "these must be equal."
        )
    return rows.detach().to(model.device, torch.float32)


def devices_of(model: PreTrainedModel) -> str:
    """The devices that hold the model's weights, in the order of its layers."""
    return ", ".join(dict.fromkeys([str(model.device), *(str(weights.device) for weights in model.parameters())]))


def _quantisation(quantise: Quantise | None) -> dict[str, BitsAndBytesConfig]:
    """What transformers is told; nothing where nothing is asked for, since a None would hide what a folder says."""
    if quantise is None:
        return {}
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of a cast at every product of matrices
    return {"quantization_config": BitsAndBytesConfig(**{f"load_in_{quantise}": True})}


def _check_quantiser(folder: Path, quantise: Quantise | None) -> bool:
    """Whether the model is quantised, or is to be. Raises SubjectError where the package for it is missing."""
    told = getattr(load_config(folder), "quantization_config", None)
    if told is None and quantise:
        _require("bitsandbytes", f"--quantise {quantise} makes a model smaller as it is loaded")
    if told is None:
        return quantise is not None
    if quantise:
        raise SubjectError(f"Model {folder} is quantised already; leave --quantise {quantise} out.")
    with _explained(folder, "quantised model"):
        is_known = AutoHfQuantizer.supports_quant_method(told)
    way = told.get("quant_method", "bitsandbytes")
    if not is_known:  # transformers would take the weights for plain ones
        raise SubjectError(f"Model {folder} is quantised by {way}, which transformers cannot read; use another copy.")
    if way in _QUANTISERS:
        _require(_QUANTISERS[way], f"Model {folder} is quantised by {way}")
    return True


def _require(package: str, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SubjectError(f"{why}, which needs the package {package}; install it with: pip install {package}.")


def _check_places(model: PreTrainedModel, folder: Path) -> None:
    """That all weights are on a device: what accelerate keeps elsewhere until a layer runs cannot be read here."""
    if any(weights.is_meta for weights in model.parameters()):
        raise SubjectError(f"Model {folder} does not fit the devices' memory; use more of them or a quantised copy.")
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        if not table.weight.is_floating_point():
            raise SubjectError(f"Model {folder} has its embeddings quantised, which are read here; use another copy.")


@contextmanager
def quiet() -> Iterator[None]:
    """transformers says nothing and draws no bars."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def _explained(folder: Path, what: str) -> Iterator[None]:
    """What transformers raises becomes one sentence; its progress bars are left out."""
    try:
        with quiet():
            yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        first_line = next(iter(str(error).splitlines()), type(error).__name__).rstrip(". ")
        raise SubjectError(f"The {what} in {folder} cannot be loaded: {first_line}.") from error
