"""From a feature's weights to the vector that stands where a row of the embedding matrix stands.

r = w / |w|;  r' = (1 - sum p_i) r + sum p_i u_i;  v = c + s r', or s r' without the centroid. c and u_i: mean and
principal components of the embedding rows as stored. After M. Watkins, "SAE Feature Interpretability Tool"; blends and
several components go beyond it. float32 always. Knows nothing of prompts, trees or lists.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.evidence import ProbeRequest
from probes.settings import ProbeSettings, VectorSettings
from probes.subject import Subject


def feature_vectors(subject: Subject, features: Sequence[int], settings: VectorSettings) -> Float[Tensor, "n d_model"]:
    """The vectors v of `features`, before any scaling that the model applies to embedding rows.

    A feature whose weights are all zero has no direction: its vector is zero, not the centroid; see `has_direction`.
    """
    return placed(subject, _directions(subject, features, settings.decoder_share), settings)


def placed(subject: Subject, unit: Float[Tensor, "n d_model"], settings: VectorSettings) -> Float[Tensor, "n d_model"]:
    """The vectors v of unit directions r, whatever they come from; zero where a direction is."""
    shares = torch.tensor(settings.pca, dtype=torch.float32, device=unit.device)
    mixed = (1 - shares.sum()) * unit + shares @ subject.components(len(settings.pca))
    scale = subject.card.default_scale if settings.scale is None else settings.scale
    origin = subject.centroid if settings.centroid else torch.zeros_like(subject.centroid)
    return (origin + scale * mixed) * has_direction(unit)[:, None]


def has_direction(vectors: Float[Tensor, "n d_model"]) -> Bool[Tensor, " n"]:
    """False where a vector is zero, which is a feature without weights: probes answer it with empty evidence."""
    return vectors.any(dim=-1)


def request_vectors(subject: Subject, requests: Sequence[ProbeRequest]) -> Float[Tensor, "n d_model"]:
    """The vector of every request, in their order; those of equal settings are computed together."""
    places: dict[VectorSettings, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        places[request.settings.vector].append(place)
    vectors = torch.empty(len(requests), subject.card.d_model, device=subject.embedding.device)
    for settings, where in places.items():
        vectors[where] = feature_vectors(subject, [requests[place].feature for place in where], settings)
    return vectors


def resolved(subject: Subject, settings: ProbeSettings) -> ProbeSettings:
    """`settings` with the subject's own scale where they name none."""
    if settings.vector.scale is not None:
        return settings
    vector = settings.vector.model_copy(update={"scale": subject.card.default_scale})
    return settings.model_copy(update={"vector": vector})


def _directions(subject: Subject, features: Sequence[int], decoder_share: float) -> Float[Tensor, "n d_model"]:
    """Unit vectors: the encoder's columns, the decoder's rows, or a blend of both; zero where there is nothing."""
    encoder, decoder = _unit(subject.encoder_rows(features)), _unit(subject.decoder_rows(features))
    return _unit((1 - decoder_share) * encoder + decoder_share * decoder)


def _unit(vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
    """Vectors of length 1; zero where they are zero."""
    lengths = vectors.norm(dim=-1, keepdim=True)
    return torch.where(lengths > 0, vectors / lengths, 0.0)
