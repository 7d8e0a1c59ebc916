"""Tells a feature from its nearest ones by the tokens that activate them when read alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from probes.behaviour import Neighbour, Neighbours, TokenPair
from probes.evidence import ACTIVATES, Evidence, ProbeRequest
from probes.ghost.vocabulary import activations_alone
from probes.nearest import Near, nearest
from probes.subject import Subject

NEIGHBOURS = 3
"""Nearest features of each."""
TOKENS = 6
"""Most tokens of each kind that are named."""


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """The neighbours for `requests`, in their order."""
    near = nearest(subject.sae, list(dict.fromkeys(request.feature for request in requests)), NEIGHBOURS)
    return [Neighbours(r.feature, r.settings, _neighbours(subject, r.feature, near[r.feature])) for r in requests]


def _neighbours(subject: Subject, feature: int, near: Sequence[Near]) -> tuple[Neighbour, ...]:
    own = _proportions(activations_alone(subject, feature))
    others = (_proportions(activations_alone(subject, one.feature)) for one in near)
    return tuple(_neighbour(subject, one, own, other) for one, other in zip(near, others, strict=True))


def _neighbour(subject: Subject, near: Near, own: Float[Tensor, " vocab"], other: Float[Tensor, " vocab"]) -> Neighbour:
    def leading(rank: Float[Tensor, " vocab"]) -> tuple[TokenPair, ...]:
        """Tokens of the highest rank, as far as that is more than a tenth of a maximum."""
        values, ids = rank.topk(min(TOKENS, len(rank)))
        return tuple(
            TokenPair(subject.text_of(id), float(own[id]), float(other[id]))
            for value, id in zip(values.tolist(), ids.tolist(), strict=True)
            if value > ACTIVATES
        )

    return Neighbour(
        near.feature, near.cosine, leading(own - other), leading(torch.minimum(own, other)), leading(other - own)
    )


def _proportions(found: Float[Tensor, " vocab"]) -> Float[Tensor, " vocab"]:
    """Activations as proportions of the largest; all 0 where none is."""
    return found / found.max().clamp(min=1e-12)
