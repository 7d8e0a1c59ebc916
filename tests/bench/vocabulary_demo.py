"""Measures how often the demo's greedy definition names a feature's known concept, by what the ghost is made of.

    python -m tests.bench.vocabulary_demo

All features with a known concept, each side at the subject's own scale; vocabulary ghosts by how many tokens they are
made of, and words, each defined apart, of which the concept that most of them name counts; the difference from the
decoder, paired.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from agent.log.rows import now
from agent.log.runs import versions
from eval.metrics import paired_difference, proportion
from eval.scoring.known import known_concepts
from probes.demo.ladder import definitions, named_concept
from probes.demo.shipped import ShippedTruth
from probes.demo.world import load_world
from probes.ghost.vectors import feature_ghosts
from probes.presets import SubjectSource
from probes.settings import VectorSettings
from probes.subject import Subject, load_subject

TOKENS = (2, 4, 8, 16, 64)
WORDS = (1, 3, 4, 6)


def main() -> None:
    source = SubjectSource(name="demo", device="cpu")
    subject, truth = load_subject(source), known_concepts(source)
    assert isinstance(truth, ShippedTruth)
    decoder = named(subject, truth, VectorSettings(weights="decoder"))
    print(f"{now()} {versions()}\n")
    print(f"| vector | names the concept, n {len(decoder)} | ahead of the decoder |\n|---|---|---|")
    for name, vector in vectors():
        found = named(subject, truth, vector)
        rate, ahead = proportion(round(sum(found)), len(found)), paired_difference(found, decoder, seed=0)
        told = figure(rate.value, rate.low, rate.high), figure(ahead.value, ahead.low, ahead.high, "+")
        print(f"| {name} | {' | '.join(told)} |")


def vectors() -> Iterator[tuple[str, VectorSettings]]:
    for side in ("encoder", "decoder", "blend:0.5"):
        yield side, VectorSettings(weights=side)
    for k in TOKENS:
        yield f"vocabulary, {k} tokens", VectorSettings(weights="vocabulary", ghost_tokens=k)
    for k in WORDS:
        yield f"words, {k}", VectorSettings(weights="words", ghost_tokens=k)


def named(subject: Subject, truth: ShippedTruth, vector: VectorSettings) -> Sequence[float]:
    """1 for each feature whose definition names its concept first, else 0."""
    world = load_world()
    ghosts = feature_ghosts(subject, [*truth.features], vector)
    alive = ghosts.any(dim=-1)
    concepts = iter([named_concept(text, world) for text in definitions(subject, ghosts[alive])])
    found = []
    for feature, n_ghosts in zip(truth.features, alive.sum(dim=1).tolist(), strict=True):
        votes = Counter(concept for concept in islice(concepts, n_ghosts) if concept is not None)
        first = votes.most_common(1)[0][0] if votes else None
        found.append(float(first == truth.features[feature].name))
    return found


def figure(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    return f"{value:{sign}.2f}" + ("" if low is None or high is None else f" [{low:{sign}.2f}, {high:{sign}.2f}]")


if __name__ == "__main__":
    main()
