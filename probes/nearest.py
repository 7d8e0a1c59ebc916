"""The features of an SAE whose decoder rows point the same way."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from probes.sae import SAE

_BATCH = 64


class Near(NamedTuple):
    """A feature and the cosine of its decoder row with another's."""

    feature: int
    cosine: float


def nearest(sae: SAE, features: Sequence[int], k: int) -> dict[int, list[Near]]:
    """The `k` features whose decoder rows have the highest cosine with each feature's, the nearest first."""
    rows = torch.nn.functional.normalize(sae.decoder.float(), dim=1)
    found: dict[int, list[Near]] = {}
    for start in range(0, len(features), _BATCH):
        some = torch.tensor(features[start : start + _BATCH], device=rows.device)
        cosines = rows[some] @ rows.T
        cosines[torch.arange(len(some)), some] = -2.0
        top = cosines.topk(min(k, len(rows) - 1), dim=1)
        for feature, ids, values in zip(some.tolist(), top.indices.tolist(), top.values.tolist(), strict=True):
            found[feature] = [Near(*pair) for pair in zip(ids, values, strict=True)]
    return found
