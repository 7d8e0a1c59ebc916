"""Finds the tokens that activate a feature most when read alone, and makes the feature's ghost of them.

a(t) is the feature's pre-activation at the SAE's hook when the model reads token t alone
(`probes.ghost.token_states`), and z = (a - mean)/std over all tokens. The list is the tokens of largest a. The
ghost's direction is r = unit(sum over the k largest of relu(z - 2) (E_t - c)): it maps a direction of the activations
after L layers into the space where a ghost stands. A feature is compared with random directions taken through the
same procedure, by how far out its tokens lie and how far their embeddings point the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.columns import Columns, pre_activations
from probes.ghost.random_directions import random_directions
from probes.ghost.token_states import TokenStates, token_states
from probes.model.products import linear
from probes.subject import Subject

CUT = 2.0
"""Standard deviations above the mean from which on a token counts for a ghost."""
DEPTHS = (1, 8)
"""How many of the first tokens the statistic looks at: a feature of one word and one of a kind of words both show."""
N_RANDOM = 999
"""Random directions that a list is compared with: they cost a product of matrices, and no tree."""
SEED = 20241
_FEATURES = 512
"""Features in one product."""
_STATISTICS = 128
"""Features whose tokens' embeddings are looked at at once."""


@dataclass(frozen=True, eq=False)
class LeadingTokens:
    """The tokens of largest pre-activation, largest first."""

    ids: Int[Tensor, "n k"]
    """Fewer than were asked for where the vocabulary has no more."""
    values: Float[Tensor, "n k"]
    """Pre-activations."""
    z: Float[Tensor, "n k"]
    """Standard deviations above the mean over all tokens; 0 for a feature that no token moves."""


@dataclass(frozen=True, eq=False)
class TokenLists:
    """The lists of some features."""

    leading: LeadingTokens
    threshold: Float[Tensor, " n"]
    """What a pre-activation must exceed; NaN where that hangs on the other features, as in top-k."""
    activates: Sequence[bool]
    """Whether the first token alone makes the feature active."""
    p_values: Sequence[float]
    """(1 + random directions whose lists are as far out) / (1 + random directions)."""


def token_lists(subject: Subject, features: Sequence[int], top_n: int) -> TokenLists:
    """The lists of `features`. Raises SubjectError where the states are not finite."""
    read = pre_activations(subject.sae, torch.tensor(features, device=subject.sae.device))
    deepest = max(top_n, DEPTHS[-1])
    leading = leading_tokens(subject, read.weights, deepest)
    values = leading.values + read.bias[:, None]
    shown = LeadingTokens(leading.ids[:, :top_n], values[:, :top_n], leading.z[:, :top_n])
    return TokenLists(
        shown, read.threshold.clamp(min=0), _activate(subject, features, leading), _p_values(subject, leading)
    )


@torch.inference_mode()
def alone(subject: Subject, feature: int) -> Float[Tensor, " vocab"]:
    """The feature's pre-activation on every token read alone; -inf for tokens that are not read."""
    states = token_states(subject)
    read = pre_activations(subject.sae, torch.tensor([feature], device=subject.sae.device))
    found = torch.full((subject.card.vocab,), -torch.inf, device=subject.sae.device)
    values = [linear(block, read.weights.T, read.bias)[:, 0] for block in states.blocks(subject)]
    found[states.ids.to(found.device)] = torch.cat(values)
    return found


def activations_alone(subject: Subject, feature: int) -> Float[Tensor, " vocab"]:
    """The feature's activation on every token read alone, 0 for tokens that are not read.

    Where it hangs on the other features whether one is active, as in top-k, its pre-activation where it is positive.
    """
    found = alone(subject, feature)
    read = pre_activations(subject.sae, torch.tensor([feature], device=subject.sae.device))
    return torch.where(found > read.threshold.nan_to_num().clamp(min=0), found, 0.0)


@torch.inference_mode()
def leading_tokens(subject: Subject, columns: Float[Tensor, "d_in n"], k: int) -> LeadingTokens:
    """The tokens of largest x W, x what the SAE sees of each; a blocked product with a running top k."""
    states = token_states(subject)
    pieces = [_leading(subject, states, piece, k) for piece in columns.split(_FEATURES, dim=1)]
    return LeadingTokens(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in ("ids", "values", "z")))


def vocabulary_directions(subject: Subject, columns: Float[Tensor, "d_in n"], k: int) -> Float[Tensor, "n d_model"]:
    """The ghosts' unit directions, from encoder columns whatever their lengths; zero where no token stands out."""
    leading = leading_tokens(subject, columns, k)
    return torch.nn.functional.normalize(_weighted(subject, leading).sum(1), dim=-1)


def _leading(subject: Subject, states: TokenStates, columns: Float[Tensor, "d_in n"], k: int) -> LeadingTokens:
    best = torch.empty(columns.shape[1], 0, device=columns.device)
    places = torch.empty(columns.shape[1], 0, dtype=torch.long, device=columns.device)
    rows, start = columns.T.contiguous(), 0
    for block in states.blocks(subject):
        scores = torch.cat([best, linear(block, rows).T], dim=1)
        here = torch.arange(start, start + len(block), device=columns.device)
        candidates = torch.cat([places, here.expand(len(rows), -1)], dim=1)
        best, order = scores.topk(min(k, scores.shape[1]), dim=1)
        places = candidates.gather(1, order)
        start += len(block)
    mean, std = rows @ states.mean, ((rows @ states.covariance) * rows).sum(1).clamp(min=0).sqrt()
    z = torch.where(std[:, None] > 0, (best - mean[:, None]) / std[:, None].clamp(min=1e-30), 0.0)
    return LeadingTokens(states.ids.to(places.device)[places], best, z)


def _weighted(subject: Subject, leading: LeadingTokens) -> Float[Tensor, "n k d_model"]:
    """The tokens' embeddings from the centroid, by how far beyond the cut each of them lies."""
    offsets = subject.embedding[leading.ids.to(subject.embedding.device)] - subject.centroid
    return (leading.z - CUT).clamp(min=0)[:, :, None] * offsets


def _activate(subject: Subject, features: Sequence[int], leading: LeadingTokens) -> list[bool]:
    """By the SAE's own rule, on the state of each feature's first token."""
    states = token_states(subject)
    columns = Columns(subject.sae, features)
    rows = torch.searchsorted(states.ids, leading.ids[:, 0].cpu().contiguous())
    places = torch.arange(len(features), device=subject.sae.device)
    found: list[bool] = []
    for some, of in zip(rows.split(_FEATURES), places.split(_FEATURES), strict=True):
        there = states.states[some][:, None].to(subject.sae.device)
        found += (columns.own(there, of)[:, 0] > 0).tolist()
    return found


_NULL: WeakKeyDictionary[Subject, Float[Tensor, "n_random depths"]] = WeakKeyDictionary()


def _p_values(subject: Subject, leading: LeadingTokens) -> list[float]:
    if subject not in _NULL:
        drawn = random_directions(subject.sae.config.d_model, N_RANDOM, SEED).T.to(subject.sae.device)
        _NULL[subject] = _far_out(subject, leading_tokens(subject, drawn, DEPTHS[-1]))
    null = _NULL[subject]
    mean, std = null.mean(0), null.std(0).clamp(min=1e-12)
    others = ((null - mean) / std).amax(1).sort().values
    mine = ((_far_out(subject, leading) - mean) / std).amax(1)
    as_far = len(others) - torch.searchsorted(others, mine)
    return ((1 + as_far.cpu().double()) / (1 + len(others))).tolist()  # MPS has no float64


def _far_out(subject: Subject, leading: LeadingTokens) -> Float[Tensor, "n depths"]:
    """Returns for every k the mean z of the first k tokens times how far their embeddings point the same way.

    The latter is the length of their weighted sum over the sum of their lengths: 1 where they point the same way.
    """
    found = []
    for start in range(0, len(leading.z), _STATISTICS):
        piece = LeadingTokens(*(getattr(leading, name)[start : start + _STATISTICS] for name in ("ids", "values", "z")))
        weighted = _weighted(subject, piece)
        sums = weighted.cumsum(1).norm(dim=-1) / weighted.norm(dim=-1).cumsum(1).clamp(min=1e-30)
        means = piece.z.cumsum(1) / torch.arange(1, piece.z.shape[1] + 1, device=piece.z.device)
        depths = [min(depth, piece.z.shape[1]) - 1 for depth in DEPTHS]
        found.append((means * sums)[:, depths])
    return torch.cat(found)
