"""A GGUF file as an ordinary model folder: dequantised to float32 once, in the user's cache, and read from there.

transformers reads such files, but takes its time every time and calls the model quantised. The folder is named by what
the file holds. Two processes may make it at once: each writes its own and moves it into place.
"""

import hashlib
import importlib.util
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_model
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from probes.doors import door
from probes.doors.cached_json import cache_folder
from probes.errors import SubjectError
from probes.model.declared import check_config, check_size, declared
from probes.model.fingerprint import fingerprint
from probes.model.gguf_header import GgufHeader, read_header
from probes.model.loading import quiet

SUFFIX = ".gguf"
FILE = "model.gguf"
"""What the file is called wherever its name must not matter."""
PACKAGES = ("gguf", "accelerate")
"""What transformers needs to read such files."""
_LAYOUT = 1
"""Of the folders; to be raised when they are to be made anew."""
_DIGITS_APART = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Ways of cutting text that take every digit alone first (llama.cpp, llama-vocab.cpp); transformers leaves that out."""
_SIZES = {
    "block_count": "num_hidden_layers",
    "expert_count": "num_experts",
    "embedding_length": "hidden_size",
    "vocab_size": "vocab_size",
    "key_length": "head_dim",
}
"""GGUF's names of sizes, whatever the architecture, and those of configurations."""
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def cache() -> Path:
    """Returns the folder in which the model folders are kept."""
    return cache_folder("gguf")


def folder_for(file: Path) -> Path:
    """Returns the folder in which the model of that file is kept, or will be."""
    return cache() / f"{fingerprint({FILE: file})}-{_LAYOUT}"


def is_made(folder: Path) -> bool:
    """Tells whether the folder is there and complete; a half-written one does not open and is made again."""
    try:
        with safe_open(folder / _WEIGHTS, "pt"):
            return (folder / _CONFIG).is_file() and all(path.stat().st_size for path in folder.iterdir())
    except (OSError, SafetensorError):
        return False


def folder_of(file: Path, sha256: str | None = None) -> Path:
    """The model folder of the GGUF file at `file`, made if need be, and then only if the file's hash is `sha256`.

    Raises SubjectError for a file that is not one, not whole, not the right one, or not to be read by transformers.
    """
    with door(SubjectError, f"GGUF file {file} cannot be read: {{cause}}."):
        folder = folder_for(file)
    if not is_made(folder):
        check_packages(f"The model {file.name} is a GGUF file")
        header = _checked(file, sha256)
        with _told(file, folder):
            _make(file, header, folder)
    return folder


def check_packages(why: str) -> None:
    """Raises SubjectError, which begins with `why`, where what reads GGUF files is not installed."""
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise SubjectError(
            f"{why}, which needs the package {' and '.join(missing)}; install with: pip install {' '.join(missing)}."
        )


def _checked(file: Path, sha256: str | None) -> GgufHeader:
    from gguf import GGML_QUANT_SIZES

    header = read_header(file, {int(kind): size for kind, size in GGML_QUANT_SIZES.items()})
    if header.n_files > 1:
        raise SubjectError(
            f"GGUF file {file} is one of {header.n_files} that make one model; join them with llama.cpp's "
            "llama-gguf-split --merge."
        )
    if not header.has_tokenizer:
        raise SubjectError(f"GGUF file {file} has no tokenizer, without which nothing can be asked; use another copy.")
    if sha256 is not None and _sha256(file) != sha256:
        raise SubjectError(f"GGUF file {file} is not the one that is meant: its sha256 is not {sha256}; get it anew.")
    return header


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@contextmanager
def _told(file: Path, folder: Path) -> Iterator[None]:
    """Says on stderr what takes so long, and keeps other bars away from there."""
    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
    what = f"dequantising {file.name}, once, into {folder.parent}"
    if not console.is_terminal:
        console.print(what)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        with redirect_stderr(io.StringIO()):
            yield


def _make(file: Path, header: GgufHeader, folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, suffix=".part", ignore_cleanup_errors=True) as beside:
            made = Path(beside) / "made"
            made.mkdir()
            _write(*_read(_alone(file, Path(beside)), file, header), made)
            _place(made, folder)
    except (OSError, SafetensorError) as error:
        raise SubjectError(
            f"The model {file.name} cannot be kept in the cache folder {folder.parent}: {error}; make room there, or "
            "name another folder by XDG_CACHE_HOME."
        ) from error


def _alone(file: Path, folder: Path) -> Path:
    """The file where nothing lies beside it: transformers would rather take a tokenizer.json that does."""
    alone = folder / FILE
    try:
        alone.symlink_to(file.resolve())
    except OSError:  # a file system or a Windows that knows no links
        shutil.copyfile(file, alone)
    return alone


def _read(alone: Path, file: Path, header: GgufHeader) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer as transformers makes them of the file. Raises SubjectError, whatever that does."""
    how: dict[str, Any] = {"gguf_file": alone.name, "trust_remote_code": False, "local_files_only": True}
    _check_sizes(file, header)
    unknown = (
        f"GGUF file {file} holds a model of the architecture {header.architecture!r:.100}, which transformers "
        f"{transformers.__version__} cannot read: {{cause}}."
    )
    with quiet(), door(SubjectError, unknown):
        config = AutoConfig.from_pretrained(alone.parent, **how)
    check_size(declared(config, file), f"GGUF file {file}", header.n_numbers)
    with quiet(), door(SubjectError, f"GGUF file {file} cannot be read by transformers: {{cause}}."):
        tokenizer = AutoTokenizer.from_pretrained(alone.parent, **how)
        _cut_as(header.cut, tokenizer)
        model, report = AutoModelForCausalLM.from_pretrained(
            alone.parent, dtype=torch.float32, output_loading_info=True, **_unpacked(), **how
        )
    if report["missing_keys"]:
        raise SubjectError(f"GGUF file {file} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])}.")
    return model, tokenizer


def _check_sizes(file: Path, header: GgufHeader) -> None:
    """Checks that the tensors bear out what the metadata declare. Raises SubjectError."""
    told = {key.rpartition(".")[2]: value for key, value in header.metadata.items() if not isinstance(value, str)}
    sizes = {ours: told[theirs] for theirs, ours in _SIZES.items() if theirs in told}
    check_config(sizes, f"GGUF file {file}", header.n_tensors, header.n_numbers)


def _cut_as(cut: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Without it a blank line before a digit, say, would be two tokens where the model was trained on one."""
    if cut in _DIGITS_APART:
        apart = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(apart)


def _unpacked() -> dict[str, Any]:
    """Tells a transformers that could keep weights packed to unpack them; older ones always do."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _write(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    with quiet():
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        save_model(model, str(folder / _WEIGHTS), metadata={"format": "pt"})


def _place(made: Path, folder: Path) -> None:
    """Moves it to its place, where another process may have been first."""
    if folder.is_dir() and not is_made(folder):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        made.rename(folder)
    except OSError:
        if not is_made(folder):
            raise
