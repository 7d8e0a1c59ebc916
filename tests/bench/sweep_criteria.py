"""By what should a sweep choose, and among what? What the embedded subject's features of known concept say.

    python -m tests.bench.sweep_criteria

Every candidate's greedy definition names the feature's concept or not. On a random half of the features the criterion
is chosen, on the other half it is judged; each line is the share of features whose chosen candidate names the concept.
First every criterion over all scales, then the sweep's own over narrower and wider ranges of candidates.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from probes.demo.ladder import definitions, named_concept
from probes.demo.shipped import load_truth
from probes.demo.world import load_world
from probes.evidence import ProbeRequest, Tree
from probes.ghost.vectors import feature_vectors
from probes.growing.tree_columns import entropy_bits
from probes.null.agreement import agreement
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.proportion import Proportion
from probes.settings import ProbeSettings, VectorSettings
from probes.subject import Subject, load_subject
from probes.sweep import CHEAP, ENTROPY_WEIGHT, OTHER_PROMPTS, SCALES, WEIGHTS

CENTROIDS = (True, False)
PCAS: tuple[tuple[float, ...], ...] = ((), (0.1,))
SEED = 0
FIXED = "fixed: own scale"


@dataclass(frozen=True)
class Candidate:
    """One vector of one feature."""

    vector: VectorSettings
    multiple: float
    """Of the subject's own scale."""
    divergence: float
    entropy_bits: float
    agreement: float
    """0 for vectors of which one base prompt alone was tried."""
    names: bool
    """Whether its greedy definition names the feature's concept."""

    @property
    def is_plain(self) -> bool:
        """Tells whether it differs from a side's default vector in its scale only."""
        return bool(self.vector.centroid) and not self.vector.pca


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
RANGES: dict[str, Callable[[Candidate], bool]] = {
    "scales up to 1.4": lambda candidate: candidate.is_plain and candidate.multiple <= 1.4,
    "scales up to 2": lambda candidate: candidate.is_plain and candidate.multiple <= 2,
    "scales up to 2.8": lambda candidate: candidate.is_plain and candidate.multiple <= 2.8,
    "scales up to 4": lambda candidate: candidate.is_plain,
    "and without centroid": lambda candidate: not candidate.vector.pca,
    "and a component": lambda candidate: bool(candidate.vector.centroid),
    "and both": lambda _: True,
}
Candidates = Mapping[int, Sequence[Candidate]]
"""By feature."""


def main() -> None:
    """Prints two tables for each side, and two for all of them together."""
    subject = load_subject(SubjectSource())
    features = sorted(load_truth().features)
    shuffled = [*features]
    random.Random(SEED).shuffle(shuffled)
    half = len(features) // 2
    found = {weights: candidates(subject, features, weights) for weights in WEIGHTS}
    together = {feature: [one for side in found.values() for one in side[feature]] for feature in features}

    def line(name: str, side: Candidates, score: Callable[[Candidate], float]) -> None:
        chosen, judged = (named(side, score, some) for some in (shuffled[:half], shuffled[half:]))
        print(f"{name:<28} {chosen!s:<24} {judged}", flush=True)

    for name, side in {**found, "auto": together}.items():
        print(f"\n{name:<28} chosen on (n = {half})    judged on (n = {len(features) - half})")
        for criterion, score in CRITERIA.items():
            line(criterion, within(side, RANGES["scales up to 4"]), score)
        for words, belongs in RANGES.items():
            line(words, within(side, belongs), own_score)


def own_score(candidate: Candidate) -> float:
    """The sweep's criterion."""
    return candidate.divergence - ENTROPY_WEIGHT * candidate.entropy_bits


def within(side: Candidates, belongs: Callable[[Candidate], bool]) -> Candidates:
    """The candidates of a range."""
    return {feature: [one for one in some if belongs(one)] for feature, some in side.items()}


def candidates(subject: Subject, features: Sequence[int], weights: str) -> Candidates:
    """Every scale, with and without the centroid and a principal component, of these features' vectors."""
    found: dict[int, list[Candidate]] = {feature: [] for feature in features}
    for centroid, pca, multiple in product(CENTROIDS, PCAS, SCALES):
        scale = multiple * subject.card.default_scale
        vector = VectorSettings(weights=weights, scale=scale, centroid=centroid, pca=pca)
        for feature, candidate in zip(features, _of(subject, features, vector, multiple), strict=True):
            found[feature].append(candidate)
    return found


def named(side: Candidates, score: Callable[[Candidate], float], features: Sequence[int]) -> Proportion:
    """Features whose best candidate by that score names their concept."""
    return Proportion(sum(max(side[feature], key=score).names for feature in features), len(features))


def _of(subject: Subject, features: Sequence[int], vector: VectorSettings, multiple: float) -> Iterator[Candidate]:
    truth, world = load_truth(), load_world()
    prompts = OTHER_PROMPTS if vector.centroid and not vector.pca else OTHER_PROMPTS[:1]
    settings = [ProbeSettings(vector=vector, tree=CHEAP.model_copy(update={"prompt": prompt})) for prompt in prompts]
    requests = [ProbeRequest("tree", feature, one) for feature, one in product(features, settings)]
    trees = [tree for tree in run_probes(subject, requests) if isinstance(tree, Tree)]
    texts = definitions(subject, feature_vectors(subject, features, vector))
    for place, (feature, text) in enumerate(zip(features, texts, strict=True)):
        mine = trees[place * len(settings) :][: len(settings)]
        contrast = mine[0].contrast
        assert contrast is not None
        yield Candidate(
            vector,
            multiple,
            contrast.divergence,
            entropy_bits(mine[0]),
            agreement(mine) or 0.0,
            named_concept(text, world) == truth.features[feature].name,
        )


if __name__ == "__main__":
    main()
