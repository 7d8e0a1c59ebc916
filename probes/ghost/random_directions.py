"""Directions that stand for nothing: what a feature's is compared with."""

import torch
from jaxtyping import Float
from torch import Tensor


def random_directions(width: int, n: int, seed: int) -> Float[Tensor, "n width"]:
    """Unit vectors, uniform over the sphere; the same for the same seed on every machine."""
    drawn = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)
