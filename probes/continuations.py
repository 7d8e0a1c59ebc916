"""Continues neutral openings with a feature clamped, beside the same with a random feature.

Features are clamped at the strength of their request's steering, in units of their maximum. The random feature moves
what the model computes as far: its activation is chosen so that what is written has the same length. Decoding is
greedy, so that a difference is the feature's and not chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from probes.behaviour import Continuation, Continuations
from probes.errors import SubjectError
from probes.evidence import Evidence, ProbeRequest
from probes.known_maxima import known_maxima
from probes.model.last_logits import last_logits
from probes.settings import SteeringSettings
from probes.steering import FeatureSteering, written_rows
from probes.subject import Subject
from probes.token_change import NEUTRAL, drawn
from probes.tokenizer.prompt import leading_ids

OPENINGS = NEUTRAL[:4]
LENGTH = 16
"""Tokens that an opening is continued by."""
_SEED = 0
"""Of the random features, which also hang on the feature that they stand beside."""
_ROWS = 256
"""Sequences in one forward."""
_CLAMP = SteeringSettings(mode="clamp", at="all")

SILENT = "no single token and no text that was read activates the feature, so there is nothing to clamp it at"
NOT_WRITTEN = "the feature writes nothing, or there is no other to compare it with"


@dataclass(frozen=True)
class _Pair:
    """A feature and the random one beside it, each with the activation that it is clamped at."""

    features: tuple[int, int]
    amounts: tuple[float, float]


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """The continuations for `requests`, in their order, all in few forwards."""
    maxima = known_maxima(subject, requests)
    amounts = [r.settings.steering.strength * maximum for r, maximum in zip(requests, maxima, strict=True)]
    pairs = [_pair(subject, r.feature, amount) for r, amount in zip(requests, amounts, strict=True)]
    written: Iterator[tuple[Continuation, ...]] = iter(())
    refusal = ""
    try:
        written = iter(_written(subject, [pair for pair in pairs if isinstance(pair, _Pair)]))
    except SubjectError as error:  # a place that cannot be written to costs this move, not the run
        refusal = str(error)
    return [
        Continuations(
            request.feature,
            request.settings,
            amount,
            request.maximum is not None,
            None if isinstance(pair, str) or refusal else pair.features[1],
            () if isinstance(pair, str) or refusal else next(written),
            pair if isinstance(pair, str) else refusal,
        )
        for request, amount, pair in zip(requests, amounts, pairs, strict=True)
    ]


def _pair(subject: Subject, feature: int, amount: float) -> _Pair | str:
    """The feature with its random one, or why there is none."""
    if amount <= 0:
        return SILENT
    other = next(iter(drawn(subject, feature, 1, _SEED)), None)
    if other is None:
        return NOT_WRITTEN
    own, beside = written_rows(subject.sae, [feature, other]).norm(dim=-1).tolist()
    return _Pair((feature, other), (amount, amount * own / beside)) if own > 0 else NOT_WRITTEN


def _written(subject: Subject, pairs: Sequence[_Pair]) -> list[tuple[Continuation, ...]]:
    """For each pair its openings, continued. Raises SubjectError where the model cannot be steered there."""
    if not pairs:
        return []
    features = [feature for pair in pairs for feature in pair.features]
    steering = FeatureSteering(subject, features, [amount for pair in pairs for amount in pair.amounts], _CLAMP)
    found: list[list[str]] = [[] for _ in features]
    for opening in OPENINGS:
        for places in torch.arange(len(features)).split(_ROWS):
            for place, text in zip(places.tolist(), _continued(subject, steering, places, opening), strict=True):
                found[place].append(text)
    return [
        tuple(map(Continuation, OPENINGS, own, beside)) for own, beside in zip(found[::2], found[1::2], strict=True)
    ]


@torch.inference_mode()
def _continued(subject: Subject, steering: FeatureSteering, places: Int[Tensor, " n"], opening: str) -> list[str]:
    """The opening continued by `LENGTH` tokens, sequence i with the feature at `places[i]` clamped everywhere."""
    front = [*leading_ids(subject.tokenizer), *subject.tokenizer.encode(opening, add_special_tokens=False)]
    ids = torch.tensor([front], device=subject.model.device).expand(len(places), -1)
    with steering.over(places, planting=True):
        for _ in range(LENGTH):
            ids = torch.cat([ids, last_logits(subject.model, ids).argmax(dim=-1)], dim=1)
    return [subject.tokenizer.decode(line[len(front) :], skip_special_tokens=True) for line in ids.tolist()]
