"""Readers give the numbers of the libraries that define the formats: `pip install 'sae-interpret[libraries]'`."""

from pathlib import Path

import pytest
import torch

from probes.columns import Columns
from probes.sae_formats import read_sae
from tests.library_saes import CASES, K, LibraryCase, inputs

pytestmark = [pytest.mark.usefixtures("sae_cache"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_gives_what_its_library_gives(tmp_path: Path, case: LibraryCase) -> None:
    pytest.importorskip(case.library, reason=f"{case.library} is not installed", exc_type=ImportError)
    x = inputs()
    with torch.no_grad():
        right = case.make(tmp_path / "sae", x)
    sae = read_sae(right.path)
    found = sae.encode(x)
    assert 0.01 < float((right.features > 0).float().mean()) < 0.99
    assert torch.equal(found > 0, right.features > 0)
    torch.testing.assert_close(found, right.features, rtol=1e-4, atol=1e-3)
    chosen = [K, 0, 29]
    active = right.features[:, chosen].clamp(min=0)  # of abstopk negative ones too, which do not count
    torch.testing.assert_close(Columns(sae, chosen).encode(x), active, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(sae.reconstruct(x), right.written, rtol=1e-4, atol=1e-2)
