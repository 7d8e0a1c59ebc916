"""What trees may take of a device's memory: constants on a CPU, a part of what is free on a GPU."""

import pytest
import torch

from probes.growing import memory
from probes.growing.memory import MIB, ON_ACCELERATOR, ON_CPU, MemoryBudget, budget_of
from probes.growing.transfer import PendingTensors, sent

CUDA = torch.device("cuda", 0)


def with_free(monkeypatch: pytest.MonkeyPatch, mib: int) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _device: mib * MIB)


def test_a_gpu_with_room_gets_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 80_000)
    assert budget_of(CUDA, lambda: MIB) == ON_ACCELERATOR


def test_a_small_gpu_gets_parts_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 1_600)
    assert budget_of(CUDA, lambda: MIB) == MemoryBudget(800, ON_ACCELERATOR.trees, 400 * MIB, 100 * MIB)


def test_a_full_gpu_is_asked_for_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 1)
    assert budget_of(CUDA, lambda: MIB).nodes == 1


def test_nothing_is_measured_elsewhere() -> None:
    def measured() -> int:
        raise AssertionError

    assert budget_of(torch.device("cpu"), measured) == ON_CPU
    assert budget_of(torch.device("mps"), measured) == ON_ACCELERATOR


def test_what_is_fetched_is_what_was_there() -> None:
    there = [torch.arange(5), torch.randn(2, 3)]
    for one, other in zip(PendingTensors(there).wait(), there, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(sent(there[0].expand(2, -1), torch.device("cpu")), there[0].expand(2, -1))
