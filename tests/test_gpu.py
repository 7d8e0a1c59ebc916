"""On a GPU, where there is one: trees, lists and readings are those of a CPU, in float32."""

from pathlib import Path

import pytest
import torch

from probes.evidence import ProbeRequest, TokenList
from probes.growing.memory import free_bytes, peak_bytes
from probes.growing.transfer import PendingTensors, sent
from probes.probe import run_probes
from probes.settings import ProbeSettings
from probes.subject import Subject
from tests.subjects import tiny_subject
from tests.test_tree import NEAR, SETTINGS, assert_same, grow, reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return tiny_subject(Path(tmp_path_factory.mktemp("cuda")), device="cuda")


def test_the_engine_grows_the_reference_s_tree(there: Subject) -> None:
    for tree in grow(there, [0, 3, 7], SETTINGS):
        assert assert_same(tree, reference(there, tree)) > 5


def test_trees_and_lists_are_a_cpu_s(there: Subject, subject: Subject) -> None:
    for one, other in zip(grow(there, [0, 1], SETTINGS), grow(subject, [0, 1], SETTINGS), strict=True):
        assert one.token_ids == other.token_ids
        assert one.probabilities == pytest.approx(other.probabilities, rel=NEAR)
        assert one.contrast is not None
        assert other.contrast is not None
        assert one.contrast.divergence == pytest.approx(other.contrast.divergence, abs=1e-4)
    assert nearest(there) == pytest.approx(nearest(subject), rel=NEAR)


def nearest(subject: Subject) -> dict[int, float]:
    """The scores of one token list."""
    found = run_probes(subject, [ProbeRequest("tokens", 3, ProbeSettings())])[0]
    assert isinstance(found, TokenList)
    return {token.token_id: token.score for token in found.tokens}


def test_what_comes_back_is_what_was_there_when_it_was_asked_for(there: Subject) -> None:
    device = there.model.device
    large = torch.randn(1000, 1000)
    on_device = sent(large, device)
    fetched = PendingTensors([on_device.clone()])
    on_device.zero_()
    assert torch.equal(fetched.wait()[0], large)


def test_memory_is_seen(there: Subject) -> None:
    device = there.model.device
    assert peak_bytes(device, lambda: torch.empty(1 << 20, device=device)) >= 4 << 20
    assert 0 < free_bytes(device) <= torch.cuda.get_device_properties(device).total_memory
