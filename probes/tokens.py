"""Token lists: the tokens nearest to a feature's vector, or of vocabulary weights those that activate it most.

score(t) = (1 - cos(v, E_t)) ** m / (1 - cos(c, E_t)), smallest first: what is near to everything is divided away. After
M. Watkins, "SAE Feature Interpretability Tool". Rows of zeros are left out. What activates a feature: see
`probes.ghost.vocabulary`. Matrix products for many features at once, blocks of the vocabulary at a time.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from probes.batching import in_groups
from probes.defining import defined
from probes.evidence import IN_CONTEXT, Evidence, ProbeRequest, ScoredToken, TokenList
from probes.ghost.vectors import has_direction, request_vectors, resolved
from probes.ghost.vocabulary import N_RANDOM, alone, token_lists
from probes.model.embedding import EmbeddingTable
from probes.model.products import linear
from probes.settings import TokenSettings
from probes.subject import Subject

BLOCK_BYTES = 64 * 2**20
"""Memory for one block of scores, about."""
MAX_FEATURES = 512
"""Most features in one product."""


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """One token list per request, in their order. A feature without direction gets an empty one."""
    return in_groups(
        requests,
        lambda request: (request.settings.tokens, request.settings.vector.is_vocabulary),
        lambda key, alike: (_defined if key[1] and key[0].define else _activating if key[1] else _lists)(
            subject, alike, key[0]
        ),
    )


def _lists(subject: Subject, requests: Sequence[ProbeRequest], settings: TokenSettings) -> Iterator[TokenList]:
    vectors = request_vectors(subject, requests)
    scores, ids = nearest(subject.table, vectors, settings)
    alive = has_direction(vectors).tolist()
    for request, lives, row, row_ids in zip(requests, alive, scores.tolist(), ids.tolist(), strict=True):
        scored = [(id, score) for id, score in zip(row_ids, row, strict=True) if lives and score < float("inf")]
        tokens = tuple(ScoredToken(id, subject.text_of(id), score) for id, score in scored)
        yield TokenList(request.feature, resolved(subject, request.settings), tokens)


def _activating(subject: Subject, requests: Sequence[ProbeRequest], settings: TokenSettings) -> Iterator[TokenList]:
    features = [request.feature for request in requests]
    found = token_lists(subject, features, settings.top_n)
    alive = has_direction(subject.sae.encoder_rows(features)).tolist()
    for place, request in enumerate(requests):
        ids, values, z = (
            column[place].tolist() if alive[place] else []
            for column in (found.leading.ids, found.leading.values, found.leading.z)
        )
        threshold = float(found.threshold[place])
        yield TokenList(
            request.feature,
            resolved(subject, request.settings),
            tuple(ScoredToken(id, subject.text_of(id), value) for id, value in zip(ids, values, strict=True)),
            threshold=None if math.isnan(threshold) else threshold,
            z=tuple(z),
            p_value=found.p_values[place],
            n_random=N_RANDOM,
            note="" if found.activates[place] or not alive[place] else IN_CONTEXT,
        )


def _defined(subject: Subject, requests: Sequence[ProbeRequest], settings: TokenSettings) -> list[TokenList]:
    """The lists of tokens that activate the features, with definitions; equal settings in one batch."""
    return in_groups(
        [*_activating(subject, requests, settings)],
        lambda listed: listed.settings,
        lambda settings, alike: defined(subject, alike, settings),
    )


@torch.inference_mode()
def nearest(
    table: EmbeddingTable, vectors: Float[Tensor, "n d_model"], settings: TokenSettings
) -> tuple[Float[Tensor, "n top_n"], Tensor]:
    """Scores in rising order and their token ids; infinite where there are no more tokens."""
    pieces = [_nearest(table, piece, settings) for piece in torch.split(vectors, MAX_FEATURES)]
    return torch.cat([piece[0] for piece in pieces]), torch.cat([piece[1] for piece in pieces])


def _nearest(
    table: EmbeddingTable, vectors: Float[Tensor, "n d_model"], settings: TokenSettings
) -> tuple[Float[Tensor, "n top_n"], Tensor]:
    """A running top n over blocks of the vocabulary."""
    best = torch.empty(len(vectors), 0, device=vectors.device)
    best_ids = torch.empty(len(vectors), 0, dtype=torch.long, device=vectors.device)
    block = max(1, BLOCK_BYTES // (4 * len(vectors)))
    for ids in torch.split(torch.arange(len(table.rows), device=vectors.device), block):
        scores = torch.cat(
            [best, scores_of(table, vectors, slice(int(ids[0]), int(ids[-1]) + 1), settings.exponent)], dim=1
        )
        candidates = torch.cat([best_ids, ids.expand(len(vectors), -1)], dim=1)
        best, order = scores.topk(min(settings.top_n, scores.shape[1]), dim=1, largest=False)
        best_ids = candidates.gather(1, order)
    return best, best_ids


def all_scores(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Float[Tensor, " vocab"]]:
    """Per request, every token's score in a list as long as the vocabulary; the smaller, the nearer.

    Of vocabulary weights they are pre-activations below 0. Infinite for tokens that are in no list.
    """
    return [
        alone(subject, request.feature).neg()
        if request.settings.vector.is_vocabulary
        else scores_of(
            subject.table, request_vectors(subject, [request]), slice(None), request.settings.tokens.exponent
        )[0]
        for request in requests
    ]


def scores_of(
    table: EmbeddingTable, vectors: Float[Tensor, "n d_model"], block: slice | Tensor, exponent: float
) -> Float[Tensor, "n block"]:
    """Scores of some tokens, by their ids; infinite for rows of zeros and for one that points where the centroid does.

    Means nothing for a vector of zeros.
    """
    lengths = vectors.norm(dim=-1, keepdim=True) * table.row_norms[block]
    cosines = linear(vectors, table.rows[block]) / lengths
    scores = (1 - cosines).clamp(min=0) ** exponent / table.centroid_distances[block]
    usable = table.is_row[block] & (table.centroid_distances[block] > 0)
    return torch.where(usable, scores, torch.inf)
