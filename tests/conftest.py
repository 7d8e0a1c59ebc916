"""Subjects shared by the tests: loaded once, changed by none."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from probes.sae_formats import copies
from probes.subject import Subject
from tests.subjects import FAMILIES, tiny_subject


@pytest.fixture(autouse=True)
def plain_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands print is as wide as in a file, whatever the tests themselves are run in."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="session")
def subject_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """A tiny random subject of a family, by the family's name."""

    @cache
    def load(family: str) -> Subject:
        return tiny_subject(tmp_path_factory.mktemp(family), family)

    return load


@pytest.fixture(scope="session")
def subject(subject_of: Callable[[str], Subject]) -> Subject:
    """A tiny random Gemma with its SAE; the SAE's last feature is dead."""
    return subject_of("gemma")


@pytest.fixture(params=FAMILIES)
def any_subject(request: pytest.FixtureRequest, subject_of: Callable[[str], Subject]) -> Subject:
    """A subject of every family in turn."""
    return subject_of(request.param)


@pytest.fixture
def sae_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the user's cache of SAEs."""
    monkeypatch.setattr(copies, "folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"
