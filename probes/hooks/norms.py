"""Measures a norm, gain * (x - mean x) / size + shift, on the module itself, not from a table of families.

Whether the mean is taken off, whether the gain is stored less 1 or not at all, what is added under the root: all of it
shows in what the module makes of a few vectors.
"""

from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

_SMALL = 1e-3
"""Of a vector so small that what is added under the root shows."""


@dataclass(frozen=True, eq=False)
class Norm:
    """The effect of a norm on vectors, and on directions on their way through it; float32."""

    gain: Float[Tensor, " width"]
    shift: Float[Tensor, " width"]
    centres: bool
    """Whether it takes off the mean: a LayerNorm, not an RMSNorm."""
    epsilon: float
    """What it adds to the mean square."""

    def bare(self, states: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Returns `states` as the norm leaves them before its gain and shift."""
        x = self._centred(states.float())
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon)

    def forth(self, rows: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """Returns directions of the norm's input as they leave it, but for the size of the input that they are
        part of.
        """
        return self._centred(rows) * self.gain

    def answering(self, rows: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """The directions of its input that the products of its output with `rows` answer to: gain * row.

        The gradient, but for the size of the input and for what goes along the input itself.
        """
        return self._centred(rows * self.gain)

    def back(self, rows: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """The directions of its input that become `rows`: row / gain, and 0 where the gain is."""
        return self._centred(torch.where(self.gain == 0, 0.0, rows / self.gain))

    def without_gain(self) -> Self:
        """The norm up to its gain."""
        return replace(self, gain=torch.ones_like(self.gain))

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        return replace(self, gain=self.gain.to(device), shift=self.shift.to(device))

    def _centred(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if self.centres else x


@torch.inference_mode()
def norm_of(module: nn.Module, like: Float[Tensor, "*batch width"]) -> Norm:
    """Measures the module on vectors such as `like`; if it is no norm, `Norm.bare` will not agree with it.

    A vector of ones whose signs alternate has mean 0 and size 1, so that the gain is what it becomes.
    """
    signs = torch.ones_like(like.flatten(0, -2)[:1])
    signs[:, 1::2] = -1
    nothing, signed, moved, small = (
        module(x)[0].float() for x in (torch.zeros_like(signs), signs, signs + 1, _SMALL * signs)
    )
    said = signed - nothing
    shrunk = float((small - nothing) @ said / said.square().sum())
    return Norm(
        gain=said * signs[0].float(),
        shift=nothing,
        centres=torch.allclose(moved, signed, rtol=1e-2, atol=1e-3),
        epsilon=max(0.0, _SMALL**2 * (1 / shrunk**2 - 1)),
    )
