"""Directions of random features, which stand for nothing: what a real feature's evidence is compared with.

A random feature has an encoder direction and a decoder direction that know nothing of each other, each uniform over the
sphere. Reads no file and grows no tree.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from probes.settings import blend_share
from probes.subject import Subject
from probes.vectors import blended


def null_directions(subject: Subject, weights: str, n: int, seed: int) -> Float[Tensor, "n d_model"]:
    """The unit directions that n random features have by these weights.

    Feature i of a seed is the same whatever the weights, so that its sides can be compared as a real feature's are.
    """
    d_model = subject.card.d_model
    encoder, decoder = random_directions(d_model, n, seed), random_directions(d_model, n, seed + 1)
    return blended(encoder, decoder, blend_share(weights)).to(subject.embedding.device)


def null_weights(weights: str) -> str:
    """The weights whose random directions stand for those of `weights` where a side is looked at alone.

    Encoder, decoder and blends of random features are all uniform over the sphere, so one null does for all of them.
    """
    blend_share(weights)  # refuses what is no side
    return "encoder"


def random_directions(d_model: int, n: int, seed: int) -> Float[Tensor, "n d_model"]:
    """Unit vectors, uniform over the sphere; the same for the same seed on every machine."""
    drawn = torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=-1)
