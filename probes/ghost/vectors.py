"""From a feature's weights to the vector that stands where a row of the embedding matrix stands.

r = w / |w|;  r' = (1 - sum p_i) r + sum p_i u_i;  v = c + s r', or s r' without the centroid. c and u_i: mean and
principal components of the embedding rows as stored. After M. Watkins, "SAE Feature Interpretability Tool"; blends and
several components go beyond it. With a fitted adapter v = s r + b, its own s and b. float32 always.

Weights of words give a feature several vectors, one for each of its words; all others one.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.errors import SettingsError
from probes.evidence import ProbeRequest
from probes.ghost.adapter import read_adapter
from probes.ghost.vocabulary import vocabulary_directions
from probes.ghost.words import word_directions
from probes.settings import GHOST_TOKENS, VOCABULARY, WORDS, ProbeSettings, VectorSettings, blend_share
from probes.subject import Subject


def feature_vectors(subject: Subject, features: Sequence[int], settings: VectorSettings) -> Float[Tensor, "n d_model"]:
    """The vectors v of `features`, before any scaling that the model applies to embedding rows.

    A feature whose weights are all zero has no direction: its vector is zero, not the centroid; see `has_direction`.
    Raises SettingsError for weights of words, of which a feature has several vectors, and for settings that are still
    to be found: `probes.probe` finds them.
    """
    _check_single(settings)
    return feature_ghosts(subject, features, settings)[:, 0]


def feature_ghosts(
    subject: Subject, features: Sequence[int], settings: VectorSettings
) -> Float[Tensor, "n n_ghosts d_model"]:
    """All the vectors v that stand for each of `features`: one, or of weights of words one for each; zeros are none.

    Raises SettingsError for settings that are still to be found.
    """
    if settings.is_auto:
        raise SettingsError("For a single vector, weights and scale cannot be auto; name them.")
    if settings.weights == WORDS:
        unit = word_directions(subject, subject.sae.encoder_rows(features).T, settings.ghost_tokens)
    else:
        unit = directions(subject, features, settings.weights, settings.ghost_tokens)[:, None]
    return placed(subject, unit, settings)


def placed(
    subject: Subject, unit: Float[Tensor, "*n d_model"], settings: VectorSettings
) -> Float[Tensor, "*n d_model"]:
    """The vectors v of unit directions r, whatever they come from; zero where a direction is."""
    alive = has_direction(unit)[..., None]
    if settings.adapter is not None:
        return read_adapter(settings.adapter, subject.card)(unit) * alive
    shares = torch.tensor(settings.pca, dtype=torch.float32, device=unit.device)
    mixed = (1 - shares.sum()) * unit + shares @ subject.components(len(shares))
    scale = settings.distance or subject.card.default_scale
    return (origin(subject, settings) + scale * mixed) * alive


def origin(subject: Subject, settings: VectorSettings) -> Float[Tensor, " d_model"]:
    """Returns the point that vectors of all directions start from: the centroid, zero, or an adapter's bias."""
    if settings.adapter is not None:
        return read_adapter(settings.adapter, subject.card).bias.to(subject.centroid.device)
    return subject.centroid if settings.centroid else torch.zeros_like(subject.centroid)


def has_direction(vectors: Float[Tensor, "*n d_model"]) -> Bool[Tensor, "*n"]:
    """False where a vector is zero, which is a feature without weights: probes answer it with empty evidence."""
    return vectors.any(dim=-1)


def request_vectors(subject: Subject, requests: Sequence[ProbeRequest]) -> Float[Tensor, "n d_model"]:
    """The vector of every request, in their order. Raises SettingsError for weights of words."""
    for request in requests:
        _check_single(request.settings.vector)
    return request_ghosts(subject, requests)[:, 0]


def request_ghosts(subject: Subject, requests: Sequence[ProbeRequest]) -> Float[Tensor, "n n_ghosts d_model"]:
    """All vectors of every request, in their order; those of equal settings are computed together; zeros are none."""
    places: dict[VectorSettings, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        places[request.settings.vector].append(place)
    n_ghosts = max((settings.n_ghosts for settings in places), default=1)
    ghosts = torch.zeros(len(requests), n_ghosts, subject.card.d_model, device=subject.embedding.device)
    for settings, where in places.items():
        found = feature_ghosts(subject, [requests[place].feature for place in where], settings)
        ghosts[where, : found.shape[1]] = found
    return ghosts


def resolved(subject: Subject, settings: ProbeSettings) -> ProbeSettings:
    """`settings` with the subject's own scale where they name none."""
    return settings.model_copy(update={"vector": settings.vector.scaled(subject.card.default_scale)})


def directions(
    subject: Subject, features: Sequence[int], weights: str, ghost_tokens: int = GHOST_TOKENS
) -> Float[Tensor, "n d_model"]:
    """Unit vectors: the encoder's columns, the decoder's rows, a blend of both, or what activating tokens point to.

    Zero where there is nothing.
    """
    if weights == VOCABULARY:
        return vocabulary_directions(subject, subject.sae.encoder_rows(features).T, ghost_tokens)
    encoder, decoder = _unit(subject.encoder_rows(features)), _unit(subject.decoder_rows(features))
    return blended(encoder, decoder, blend_share(weights))


def blended(
    encoder: Float[Tensor, "n d_model"], decoder: Float[Tensor, "n d_model"], decoder_share: float
) -> Float[Tensor, "n d_model"]:
    """The blend of unit vectors, itself of length 1; zero where nothing is left."""
    return _unit((1 - decoder_share) * encoder + decoder_share * decoder)


def _check_single(settings: VectorSettings) -> None:
    if settings.weights == WORDS:
        raise SettingsError(f"For a single vector, weights cannot be {WORDS}, which make several; use {VOCABULARY}.")


def _unit(vectors: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_model"]:
    """Vectors of length 1; zero where they are zero."""
    lengths = vectors.norm(dim=-1, keepdim=True)
    return torch.where(lengths > 0, vectors / lengths, 0.0)
