"""Directions of random features, which stand for nothing: what a real feature's evidence is compared with.

A random feature has an encoder direction and a decoder direction that know nothing of each other, each uniform over the
sphere. Reads no file and grows no tree.
"""

from jaxtyping import Float
from torch import Tensor

from probes.ghost.random_directions import random_directions
from probes.ghost.vectors import blended
from probes.ghost.vocabulary import vocabulary_directions
from probes.ghost.words import word_directions
from probes.settings import VOCABULARY, WORDS, blend_share
from probes.subject import Subject


def null_directions(
    subject: Subject, weights: str, ghost_tokens: int, n: int, seed: int
) -> Float[Tensor, "n n_ghosts d_model"]:
    """The unit directions that n random features have by these weights, several each by weights of words.

    Feature i of a seed is the same whatever the weights, so that its sides can be compared as a real feature's are;
    where the SAE reads vectors of another width than the stream's, its encoder is drawn anew for vocabulary weights.
    """
    if weights in (VOCABULARY, WORDS):
        encoders = random_directions(subject.sae.config.d_model, n, seed).T.to(subject.sae.device)
        if weights == WORDS:
            return word_directions(subject, encoders, ghost_tokens)
        return vocabulary_directions(subject, encoders, ghost_tokens)[:, None]
    d_model = subject.card.d_model
    encoder, decoder = random_directions(d_model, n, seed), random_directions(d_model, n, seed + 1)
    return blended(encoder, decoder, blend_share(weights)).to(subject.embedding.device)[:, None]


def null_weights(weights: str) -> str:
    """The weights whose random directions stand for those of `weights` where a side is looked at alone.

    Encoder, decoder and blends of random features are all uniform over the sphere, so one null does for all of them.
    """
    if weights in (VOCABULARY, WORDS):
        return weights
    blend_share(weights)  # refuses what is no side
    return "encoder"
