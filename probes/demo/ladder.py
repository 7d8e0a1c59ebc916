"""The readout ladder: does the model, asked greedily to define a vector, name the concept the vector stands for?

From words' own rows down to the ghosts of features and to random directions: the first rung that fails says what to
mend. Knows how features' concepts were measured (truth.py) but has no part in measuring them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes.demo.truth import FeatureTruth
from probes.demo.world import WordSense, World
from probes.ghost.vectors import feature_vectors
from probes.growing.growth import Grower
from probes.proportion import Proportion
from probes.settings import TreeSettings, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids

GREEDY = TreeSettings(prompt="definition", top_k=1, cutoff=1e-200, max_depth=12)
"""A tree of one branch: the most probable next token, twelve times."""
SIDES = ("encoder", "decoder")
SCALES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.5)
"""Multiples of the subject's default scale."""
N_RANDOM = 1000


@dataclass(frozen=True)
class LadderReading:
    """The readout of one setting: how many features its definitions name."""

    weights: str
    scale: float
    """Multiple of the subject's default scale."""
    share: Proportion


@dataclass(frozen=True)
class Ladder:
    """Every rung with its n."""

    defined_words: Proportion
    undefined_words: Proportion
    mean_rows: Proportion
    chosen: LadderReading
    """The side and scale that read best on the development half of the concepts, with its share there."""
    features: Proportion
    """That setting on features of the other half."""
    curve: tuple[LadderReading, ...]
    """Every side and scale, on features of both halves; nothing was chosen by it."""
    random: Proportion
    """Random directions that name the concept of the feature they stand in for."""
    base_rate: Proportion
    """What always naming those features' commonest concept would get."""


def definitions(subject: Subject, vectors: Float[Tensor, "n d_model"]) -> list[str]:
    """Returns what the model writes, greedily, for each vector, up to the closing quote."""
    prompt = prompt_ids(subject.tokenizer, GREEDY.prompt_text, subject.card.placeholder_id)
    grower = Grower(subject, prompt, GREEDY)
    texts = (subject.tokenizer.decode(tree.token_ids[1:]) for tree in grower.grow(vectors * subject.input_scale))
    return [text.split('"')[0] for text in texts]


def named_concept(definition: str, world: World) -> str | None:
    """The concept whose name or synonym comes first."""
    words = re.findall(r"[a-z]+", definition)
    return next((world.concept_of_name[word] for word in words if word in world.concept_of_name), None)


def climb(
    subject: Subject, world: World, truths: Sequence[FeatureTruth], development: frozenset[str], seed: int = 0
) -> Ladder:
    """All rungs; side and scale are chosen on features whose concept is in `development`, reported on the others."""
    known = [truth for truth in truths if truth.known]
    dev, rest = ([t for t in known if (t.concept in development) == side] for side in (True, False))
    rows, senses = word_rows(subject, world)
    undefined = world.undefined_words()
    named = [
        named_concept(text, world) == s.concept for text, s in zip(definitions(subject, rows), senses, strict=True)
    ]
    chosen = max(readings(subject, world, dev), key=lambda reading: reading.share.value)
    return Ladder(
        defined_words=_share(ok for ok, s in zip(named, senses, strict=True) if s.word not in undefined),
        undefined_words=_share(ok for ok, s in zip(named, senses, strict=True) if s.word in undefined),
        mean_rows=_mean_rows(subject, world, rows, senses),
        chosen=chosen,
        features=_read(subject, world, rest, chosen.weights, chosen.scale).share,
        curve=readings(subject, world, known),
        random=_random(subject, world, rest, chosen.scale, seed),
        base_rate=Proportion(max(Counter(t.concept for t in rest).values()), len(rest)),
    )


def readings(subject: Subject, world: World, truths: Sequence[FeatureTruth]) -> tuple[LadderReading, ...]:
    """Every side at every scale."""
    return tuple(_read(subject, world, truths, side, scale) for side in SIDES for scale in SCALES)


def word_rows(subject: Subject, world: World) -> tuple[Float[Tensor, "n d_model"], list[WordSense]]:
    """The rows of all words that are one token, spaced or not, and have one sense; concepts' names left out."""
    counts = Counter(sense.word for sense in world.senses)
    ids, senses = [], []
    for sense in world.senses:
        if counts[sense.word] > 1 or sense.word in world.concept_of_name:
            continue
        for form in (sense.word, f" {sense.word}"):
            tokens = subject.tokenizer.encode(form, add_special_tokens=False)
            if len(tokens) == 1:
                ids.append(tokens[0])
                senses.append(sense)
    return subject.embedding[ids], senses


def _mean_rows(
    subject: Subject, world: World, rows: Float[Tensor, "n d_model"], senses: Sequence[WordSense]
) -> Proportion:
    members: Mapping[str, list[int]] = defaultdict(list)
    for i, sense in enumerate(senses):
        members[sense.concept].append(i)
    means = torch.stack([rows[index].mean(0) for index in members.values()])
    named = (named_concept(text, world) for text in definitions(subject, means))
    return _share(name == concept for name, concept in zip(named, members, strict=True))


def _read(subject: Subject, world: World, truths: Sequence[FeatureTruth], weights: str, scale: float) -> LadderReading:
    settings = VectorSettings(weights=weights, scale=scale * subject.card.default_scale)
    vectors = feature_vectors(subject, [truth.feature for truth in truths], settings)
    named = (named_concept(text, world) for text in definitions(subject, vectors))
    return LadderReading(weights, scale, _share(name == t.concept for name, t in zip(named, truths, strict=True)))


def _random(subject: Subject, world: World, truths: Sequence[FeatureTruth], scale: float, seed: int) -> Proportion:
    """Random directions from the centroid, at the features' distance, each standing in for a random feature."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(N_RANDOM, subject.card.d_model, generator=generator), dim=1)
    vectors = subject.centroid + scale * subject.card.default_scale * directions
    targets = torch.randint(len(truths), (N_RANDOM,), generator=generator).tolist()
    named = (named_concept(text, world) for text in definitions(subject, vectors))
    return _share(name == truths[target].concept for name, target in zip(named, targets, strict=True))


def _share(right: Iterable[bool]) -> Proportion:
    answers = list(right)
    return Proportion(sum(answers), len(answers))
