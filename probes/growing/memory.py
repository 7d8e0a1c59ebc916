"""Bounds the share of a device's memory that trees may take: what suits a CPU's caches, or what a GPU has free.

More than the most given here makes nothing faster.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from probes.model.products import ROWS, even


@dataclass(frozen=True)
class MemoryBudget:
    """The memory that one batch of trees may take."""

    nodes: int
    """Nodes in one forward."""
    trees: int
    """Trees that grow together."""
    cache_bytes: int
    """Keys and values."""
    logits_bytes: int
    """Logits read at a time, in float32; a copy or two of them come and go on top."""

    def logits_rows(self, vocab: int) -> int:
        """Returns how many nodes' logits fit, for so many tokens, in numbers that suit products."""
        return max(ROWS, even(self.logits_bytes // (4 * vocab)))


MIB = 2**20
ON_CPU = MemoryBudget(nodes=1536, trees=1024, cache_bytes=256 * MIB, logits_bytes=16 * MIB)
"""Logits that stay within a CPU's caches: more at a time are slower there."""
ON_ACCELERATOR = MemoryBudget(nodes=4096, trees=4096, cache_bytes=4096 * MIB, logits_bytes=512 * MIB)


def budget_of(device: torch.device, node_bytes: Callable[[], int]) -> MemoryBudget:
    """Returns the most on this device; of a GPU's free memory at most a quarter for the cache, half for a forward.

    `node_bytes` measures what a node takes while its forward runs; it is called for GPUs only.
    """
    if device.type == "cpu":
        return ON_CPU
    if device.type != "cuda":
        return ON_ACCELERATOR
    most, free = ON_ACCELERATOR, free_bytes(device)
    return MemoryBudget(
        nodes=max(1, min(most.nodes, free // 2 // node_bytes())),
        trees=most.trees,
        cache_bytes=min(most.cache_bytes, free // 4),
        logits_bytes=min(most.logits_bytes, free // 16),
    )


def free_bytes(device: torch.device) -> int:
    """Of a GPU: what nobody has, and what PyTorch keeps but does not use."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def peak_bytes(device: torch.device, work: Callable[[], object]) -> int:
    """The most that `work` takes on a GPU while it runs, beyond what was taken before."""
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    return torch.cuda.max_memory_allocated(device) - before
