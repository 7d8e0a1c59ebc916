"""A model and its tokenizer, read from a folder in the Hugging Face format onto one device or several."""

import importlib.util
import logging
from collections.abc import Iterator, Mapping
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

from probes.doors import door
from probes.errors import SubjectError
from probes.model.declared import check_config, check_kinds, check_size, declared
from probes.model.files import CONFIG, VOCABULARIES, checked, files_of, read_object, view_of
from probes.model.loaded import check_complete, check_numbers
from probes.model.products import use_onednn
from probes.model.stored_weights import StoredWeights, stored_weights
from probes.model.structure import d_model
from probes.presets import Quantise

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_QUANTISERS = {"bitsandbytes": "bitsandbytes", "gptq": "gptqmodel", "awq": "gptqmodel", "torchao": "torchao"}
"""Packages that ways of quantising need, by transformers' names of the ways."""
_PACKED = 32
"""So many weights at most are packed into one number of a quantised model's files."""


def load_config(folder: Path) -> Any:
    """The model's configuration, if the weights beside it can bear it out. Raises SubjectError."""
    if not (folder / CONFIG).exists():
        raise SubjectError(f"Model folder {folder} has no {CONFIG}; give a model in the Hugging Face format.")
    path, stored = checked(folder, CONFIG), stored_weights(folder)
    with door(SubjectError, f"Model file {path} cannot be read: {{cause}}; download it again."):
        told = read_object(path)
        check_config(told, f"Model file {path}", len(stored.tensors), _capacity(stored, told))
    with _explained(folder, "model's configuration") as view:
        return AutoConfig.from_pretrained(view, trust_remote_code=False, local_files_only=True)


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
    config, stored = load_config(folder), stored_weights(folder)
    is_quantised = _check_quantiser(config, folder, quantise)
    if is_quantised or device_map:
        _require("accelerate", f"Model {folder} is {'quantised' if is_quantised else 'to be spread over devices'}")
    _check_declared(config, folder, stored)
    place = {"": device} if is_quantised and not device_map else device_map
    by_default = torch.float32 if device.type == "cpu" else torch.bfloat16
    with _explained(folder, "model") as view:
        model, report = AutoModelForCausalLM.from_pretrained(
            view,
            dtype=_DTYPES.get(dtype, by_default),
            device_map=place,
            **_quantisation(quantise),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # which are looked for below, and named
        )
    with door(SubjectError, f"The model in {folder} cannot be used: {{cause}}."):
        check_complete(model, report, folder)
        _check_places(model, folder)
        model.requires_grad_(False)
        use_onednn(model)
        loaded: PreTrainedModel = model.eval() if place else model.eval().to(device)
        check_numbers(loaded, folder)
    return loaded


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer. Raises SubjectError, also where there is none."""
    if not any((folder / name).exists() for name in VOCABULARIES):
        raise SubjectError(
            f"Model folder {folder} has no tokenizer, such as {VOCABULARIES[0]} or {VOCABULARIES[1]}; copy it there "
            "from where the model comes from."
        )
    with _explained(folder, "tokenizer") as view:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            view, trust_remote_code=False, local_files_only=True
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
    """Returns the arguments for transformers; none if nothing is asked for, since a None would hide what a folder
    says.
    """
    if quantise is None:
        return {}
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of a cast at every product of matrices
    return {"quantization_config": BitsAndBytesConfig(**{f"load_in_{quantise}": True})}


def _capacity(stored: StoredWeights, told: Mapping[str, Any]) -> int:
    """Returns the most weights that the files can hold."""
    return stored.n_numbers * (_PACKED if told.get("quantization_config") else 1)


def _check_declared(config: Any, folder: Path, stored: StoredWeights) -> None:
    """Checks that the files hold what the configuration declares, in numbers that can be computed with."""
    model = declared(config, folder)
    told = getattr(config, "quantization_config", None)
    check_size(model, f"Model file {folder / CONFIG}", _capacity(stored, {"quantization_config": told}))
    if not told:
        check_kinds(model, stored)


def _check_quantiser(config: Any, folder: Path, quantise: Quantise | None) -> bool:
    """Tells whether the model is, or is to be, quantised. Raises SubjectError if the package for it is missing."""
    told = getattr(config, "quantization_config", None)
    if told is None and quantise:
        _require("bitsandbytes", f"--quantise {quantise} makes a model smaller as it is loaded")
    if told is None:
        return quantise is not None
    if quantise:
        raise SubjectError(f"Model {folder} is quantised already; leave --quantise {quantise} out.")
    with door(SubjectError, f"The quantised model in {folder} cannot be loaded: {{cause}}."), quiet():
        is_known = AutoHfQuantizer.supports_quant_method(told)
        way = str(told.get("quant_method", "bitsandbytes"))
    if not is_known:  # transformers would take the weights for plain ones
        raise SubjectError(f"Model {folder} is quantised by {way}, which transformers cannot read; use another copy.")
    if way in _QUANTISERS:
        _require(_QUANTISERS[way], f"Model {folder} is quantised by {way}")
    return True


def _require(package: str, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise SubjectError(f"{why}, which needs the package {package}; install it with: pip install {package}.")


def _check_places(model: PreTrainedModel, folder: Path) -> None:
    """Checks that all weights are on a device: what accelerate keeps elsewhere until a layer runs cannot be read
    here.
    """
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
def _explained(folder: Path, what: str) -> Iterator[Path]:
    """A view of the folder's files; what transformers raises over it is one sentence, and its bars are left out."""
    with view_of(files_of(folder)) as view:
        try:
            with door(SubjectError, f"The {what} in {folder} cannot be loaded: {{cause}}."), quiet():
                yield view
        except SubjectError as error:
            raise SubjectError(str(error).replace(str(view), str(folder))) from error.__cause__
