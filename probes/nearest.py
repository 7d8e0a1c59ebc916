"""Features whose decoder rows point the same way: of one SAE, and of SAEs that write to one residual stream."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from probes.sae import SAE

_BATCH = 64


class Near(NamedTuple):
    """A feature and the cosine of its decoder row with another's."""

    feature: int
    cosine: float


class NearElsewhere(NamedTuple):
    """A feature of another SAE, which `layer` names, and the cosine of the decoder rows."""

    layer: int
    feature: int
    cosine: float


def nearest(sae: SAE, features: Sequence[int], k: int) -> dict[int, list[Near]]:
    """The `k` features whose decoder rows have the highest cosine with each feature's, the nearest first."""
    rows = _normalised(sae.decoder.float())
    found: dict[int, list[Near]] = {}
    for start in range(0, len(features), _BATCH):
        some = torch.tensor(features[start : start + _BATCH], device=rows.device)
        cosines = rows[some] @ rows.T
        cosines[torch.arange(len(some)), some] = -2.0
        top = cosines.topk(min(k, len(rows) - 1), dim=1)
        for feature, ids, values in zip(some.tolist(), top.indices.tolist(), top.values.tolist(), strict=True):
            found[feature] = [Near(*pair) for pair in zip(ids, values, strict=True)]
    return found


def nearest_elsewhere(
    sae: SAE, feature: int, others: Mapping[int, tuple[SAE, Sequence[int]]], k: int
) -> list[NearElsewhere]:
    """The `k` nearest features of other layers' SAEs, each with the features that are looked at, the nearest first.

    A feature that points away is none of them. An SAE that does not write to the residual stream is left out, and has
    none: its rows are directions of another space.
    """
    if not sae.config.writes_to_stream:
        return []
    row = _normalised(sae.decoder_rows([feature]))[0]
    found = list[NearElsewhere]()
    for layer, (other, features) in others.items():
        if other.config.writes_to_stream and features:
            cosines = _normalised(other.decoder_rows(features)) @ row
            top = cosines.topk(min(k, len(features)))
            pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            found += [NearElsewhere(layer, features[place], value) for place, value in pairs if value > 0]
    return sorted(found, key=lambda near: -near.cosine)[:k]


def _normalised(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return torch.nn.functional.normalize(rows, dim=1)
