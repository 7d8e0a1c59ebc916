"""Mean and covariance of many vectors, of which only a block is in memory at a time."""

import torch
from jaxtyping import Float
from torch import Tensor


class Moments:
    """The moments of vectors that come in blocks, summed in float64 about the first block's mean."""

    def __init__(self, width: int) -> None:
        self._n = 0
        self._about: Tensor | None = None
        self._sum: Tensor = torch.zeros(width, dtype=torch.float64)
        self._products: Tensor = torch.zeros(width, width, dtype=torch.float64)

    def add(self, block: Float[Tensor, "n width"]) -> None:
        """Adds a block, of any float type."""
        exact = (block.cpu() if block.device.type == "mps" else block).double()  # MPS has no float64
        if self._about is None:
            self._about = exact.mean(0)
            self._sum, self._products = self._sum.to(exact.device), self._products.to(exact.device)
        centred = exact - self._about
        self._n += len(block)
        self._sum += centred.sum(0)
        self._products += centred.T @ centred

    @property
    def mean(self) -> Float[Tensor, " width"]:
        """Returns the mean, float64."""
        assert self._about is not None
        return self._about + self._sum / self._n

    @property
    def covariance(self) -> Float[Tensor, "width width"]:
        """Returns the covariance, over all vectors, float64."""
        shift = self._sum / self._n
        return self._products / self._n - torch.outer(shift, shift)
