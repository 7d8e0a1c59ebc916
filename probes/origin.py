"""The device that made a piece of evidence, which is no part of what the evidence says."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FromDevice:
    """Anything that a device has made."""

    device: str = field(default="", compare=False, kw_only=True)
    """`cpu`, `cuda:1`, or a machine of a cluster with its device, `node-3/cuda:0`; empty where that is not known."""
