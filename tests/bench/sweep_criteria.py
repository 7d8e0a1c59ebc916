"""By what should a sweep choose? What the embedded subject's features of known concept say.

    python -m tests.bench.sweep_criteria

Every candidate's greedy definition names the feature's concept or not. On a random half of the features the criterion
is chosen, on the other half it is judged; each line is the share of features whose chosen candidate names the concept.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from probes.agreement import agreement
from probes.demo.ladder import definitions, named_concept
from probes.demo.shipped import load_truth
from probes.demo.world import load_world
from probes.evidence import ProbeRequest, Tree
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings, VectorSettings
from probes.share import Share
from probes.subject import Subject, load_subject
from probes.sweep import CHEAP, OTHER_PROMPTS, SCALES, WEIGHTS, entropy_bits
from probes.vectors import feature_vectors

SEED = 0
FIXED = "fixed: own scale"


@dataclass(frozen=True)
class Candidate:
    """One vector of one feature."""

    multiple: float
    divergence: float
    entropy_bits: float
    agreement: float
    names: bool
    """Whether its greedy definition names the feature's concept."""


CRITERIA: dict[str, Callable[[Candidate], float]] = {
    FIXED: lambda candidate: -abs(candidate.multiple - 1),
    "entropy": lambda candidate: -candidate.entropy_bits,
    "agreement": lambda candidate: candidate.agreement,
    "divergence": lambda candidate: candidate.divergence,
    "divergence + 0.3 agreement": lambda candidate: candidate.divergence + 0.3 * candidate.agreement,
    "divergence - 0.1 bits": lambda candidate: candidate.divergence - 0.1 * candidate.entropy_bits,
    "divergence - 0.2 bits": lambda candidate: candidate.divergence - 0.2 * candidate.entropy_bits,
    "divergence - 0.5 bits": lambda candidate: candidate.divergence - 0.5 * candidate.entropy_bits,
    "any candidate that names it": lambda candidate: candidate.names,
}
Candidates = Mapping[int, Sequence[Candidate]]
"""By feature."""


def main() -> None:
    """Prints one table for each side, and one for all of them together."""
    subject = load_subject(SubjectSource())
    features = sorted(load_truth().features)
    shuffled = [*features]
    random.Random(SEED).shuffle(shuffled)
    half = len(features) // 2
    found = {weights: candidates(subject, features, weights) for weights in WEIGHTS}
    together = {feature: [one for side in found.values() for one in side[feature]] for feature in features}
    for name, side in {**found, "auto": together}.items():
        print(f"\n{name:<28} chosen on (n = {half})    judged on (n = {len(features) - half})")
        for criterion, score in CRITERIA.items():
            chosen, judged = (named(side, score, some) for some in (shuffled[:half], shuffled[half:]))
            print(f"{criterion:<28} {chosen!s:<24} {judged}", flush=True)


def candidates(subject: Subject, features: Sequence[int], weights: str) -> Candidates:
    """Every scale of these features' vectors."""
    found: dict[int, list[Candidate]] = {feature: [] for feature in features}
    for multiple in SCALES:
        vector = VectorSettings(weights=weights, scale=multiple * subject.card.default_scale)
        for feature, candidate in zip(features, _of(subject, features, vector, multiple), strict=True):
            found[feature].append(candidate)
    return found


def named(side: Candidates, score: Callable[[Candidate], float], features: Sequence[int]) -> Share:
    """Features whose best candidate by that score names their concept."""
    return Share(sum(max(side[feature], key=score).names for feature in features), len(features))


def _of(subject: Subject, features: Sequence[int], vector: VectorSettings, multiple: float) -> Iterator[Candidate]:
    truth, world = load_truth(), load_world()
    settings = [
        ProbeSettings(vector=vector, tree=CHEAP.model_copy(update={"prompt": prompt})) for prompt in OTHER_PROMPTS
    ]
    requests = [ProbeRequest("tree", feature, one) for feature, one in product(features, settings)]
    trees = [tree for tree in run_probes(subject, requests) if isinstance(tree, Tree)]
    texts = definitions(subject, feature_vectors(subject, features, vector))
    for place, (feature, text) in enumerate(zip(features, texts, strict=True)):
        mine = trees[place * len(settings) :][: len(settings)]
        contrast = mine[0].contrast
        assert contrast is not None
        yield Candidate(
            multiple,
            contrast.divergence,
            entropy_bits(mine[0]),
            agreement(mine) or 0.0,
            named_concept(text, world) == truth.features[feature].name,
        )


if __name__ == "__main__":
    main()
