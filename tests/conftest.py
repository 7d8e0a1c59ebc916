"""Subjects shared by the tests: loaded once, changed by none."""

from collections.abc import Callable
from functools import cache

import pytest

from probes.subject import Subject
from tests.subjects import FAMILIES, tiny_subject


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
