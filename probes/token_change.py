"""The tokens that features make more probable when they are clamped up, after short prompts that say nothing.

TokenChange of Gur-Arieh et al., "Enhancing Automated Interpretability with Output-Centric Feature Descriptions" (2025,
arXiv 2501.08319), as the mean rise of log-probabilities over prompts of our own.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.ghost.vectors import has_direction
from probes.model.last_logits import last_logits
from probes.settings import SteeringSettings
from probes.steering import FeatureSteering, written_rows
from probes.subject import Subject
from probes.tokenizer.prompt import leading_ids

NEUTRAL = (
    "The",
    "It is",
    "I think that",
    "We saw the",
    "She said that",
    "There was a",
    "They have",
    "This is about",
    "In the morning",
    "He had a",
)
STRENGTH = 2.0
"""What the feature is clamped at everywhere, in units of its maximum activation."""
SHOWN = 15
"""Tokens of each feature."""
_CLAMP = SteeringSettings(mode="clamp", at="all")


def token_changes_with_controls(
    subject: Subject, feature: int, maximum: float, n_others: int, seed: int
) -> list[tuple[str, ...]]:
    """Returns the tokens that the feature raises, then those of random other features, drawn by the seed.

    How active those get is not known; each is clamped at what moves the stream as far as `feature` does. Empty where
    the feature has no decoder row.
    """
    others = drawn(subject, feature, n_others, seed)
    lengths = written_rows(subject.sae, [feature, *others]).norm(dim=-1)
    if not lengths[0]:
        return []
    return token_changes(subject, [feature, *others], (STRENGTH * maximum * lengths[0] / lengths).tolist())


def token_changes(subject: Subject, features: Sequence[int], amounts: Sequence[float]) -> list[tuple[str, ...]]:
    """The tokens that each of the features raises, clamped at its amount, the most raised first."""
    steering = FeatureSteering(subject, features, amounts, _CLAMP)
    rise = _rise(subject, steering, len(features))
    top = rise.topk(min(SHOWN, rise.shape[1]), dim=-1).indices.tolist()
    return [tuple(map(subject.text_of, ids)) for ids in top]


@torch.inference_mode()
def _rise(subject: Subject, steering: FeatureSteering, n: int) -> Float[Tensor, "n vocab"]:
    """Of the next token's log-probability, the mean over the prompts."""
    total = torch.zeros(n, subject.card.vocab, device=subject.model.device)
    for prompt in NEUTRAL:
        text = subject.tokenizer.encode(prompt, add_special_tokens=False)
        ids = torch.tensor([[*leading_ids(subject.tokenizer), *text]], device=subject.model.device)
        plain = _next(subject, ids)
        with steering.over(torch.arange(n), planting=True):
            total += _next(subject, ids.expand(n, -1)) - plain
    return total / len(NEUTRAL)


def _next(subject: Subject, ids: Tensor) -> Float[Tensor, "n vocab"]:
    return last_logits(subject.model, ids)[:, 0].float().log_softmax(dim=-1)


def drawn(subject: Subject, feature: int, n: int, seed: int) -> list[int]:
    """At most `n` random other features that have a decoder row, by the seed and the feature."""
    n_features = subject.card.n_features
    order = np.random.default_rng([seed, feature]).permutation(n_features)[: 4 * n + 1].tolist()
    others = [other for other in order if other != feature]
    lives = has_direction(subject.sae.decoder_rows(others)).tolist() if others else []
    return [other for other, alive in zip(others, lives, strict=True) if alive][:n]
