"""Damaged SAE folders, of every format: a sentence of ours, or an SAE that works.

FUZZ=2000 python -m pytest tests/test_fuzz_sae_folder.py
"""

import shutil
import tempfile
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from probes.sae_formats import read_sae
from tests.fuzzing import damage, often, outcome, patient
from tests.sae_cases import ONE_OF_EACH

KEYS = ("architecture", "hook_name", "d_in", "d_sae", "k", "metadata", "normalize_activations", "trainer", "activation")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """For every format a folder with an SAE in it, and the place within that is read."""
    root = tmp_path_factory.mktemp("whole")
    found = {}
    for name, case in ONE_OF_EACH.items():
        read = case.write(root / name / "sae")
        found[name] = (root / name, read.relative_to(root / name))
    return found


def used(place: Path) -> None:
    """Reads what is there, and encodes a vector with it."""
    sae = read_sae(place)
    sae.encode(torch.zeros(1, sae.config.d_model))
    sae.decoder_rows([0])


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_the_whole_folders_work(whole: dict[str, tuple[Path, Path]], name: str) -> None:
    folder, read = whole[name]
    assert outcome(lambda: used(folder / read)) is None


@patient
@often
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(ONE_OF_EACH)))
def test_a_damaged_sae_folder_is_a_sentence_or_works(whole: dict[str, tuple[Path, Path]], seed: int, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "of" / "this"
        shutil.copytree(whole[name][0], root)
        damage(root, Random(seed), KEYS)
        outcome(lambda: used(root / whole[name][1]))
