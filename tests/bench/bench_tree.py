"""Nodes and trees per second of the engine and of the plain reference, and their ratio.

    python -m tests.bench.bench_tree --subject demo --features 0-63

The plain reference, one uncached forward per node, grows only the first `--plain` of the features' trees.
"""

import argparse
import time
from dataclasses import dataclass

from probes.evidence import ProbeRequest, Tree
from probes.features import parse_features
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings, TreeSettings
from probes.subject import Subject, load_subject
from probes.vectors import feature_vectors
from tests.plain import plain_tree, size


@dataclass(frozen=True)
class Speed:
    """How fast some trees were grown."""

    name: str
    trees: int
    nodes: int
    seconds: float

    @property
    def nodes_per_s(self) -> float:
        return self.nodes / self.seconds

    def __str__(self) -> str:
        per_s = f"{self.nodes_per_s:,.0f} nodes/s, {self.trees / self.seconds:,.2f} trees/s"
        return f"{self.name:8}{self.trees:5} trees, {self.nodes:8,} nodes in {self.seconds:7.2f} s: {per_s}"


def main() -> None:
    """Prints one line each for engine and plain reference, and their ratio by nodes."""
    asked = _arguments()
    named = SubjectSource(model=asked.model, sae=asked.sae) if asked.model else SubjectSource(name=asked.subject)
    subject = load_subject(named)
    features = parse_features(asked.features, subject.card.n_features)
    settings = ProbeSettings(tree=TreeSettings(cutoff=asked.cutoff))
    _engine(subject, features[:2], settings)  # both start warm
    engine = _engine(subject, features, settings)
    plain = _plain(subject, features[: asked.plain], settings)
    same = _engine(subject, features[: asked.plain], settings)
    print(engine, plain, sep="\n")
    print(f"ratio   {engine.nodes_per_s / plain.nodes_per_s:.1f} times as many nodes per second")
    print(f"        (both grew {same.nodes:,} and {plain.nodes:,} nodes for the first {plain.trees} features)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default="demo")
    parser.add_argument("--model")
    parser.add_argument("--sae")
    parser.add_argument("--features", default="0-63")
    parser.add_argument("--cutoff", type=float, default=TreeSettings().cutoff)
    parser.add_argument("--plain", type=int, default=2, help="trees that the plain reference grows")
    return parser.parse_args()


def _engine(subject: Subject, features: list[int], settings: ProbeSettings) -> Speed:
    start = time.perf_counter()
    grown = run_probes(subject, [ProbeRequest("tree", feature, settings) for feature in features])
    seconds = time.perf_counter() - start
    return Speed("engine", len(grown), sum(tree.n_nodes for tree in grown if isinstance(tree, Tree)), seconds)


def _plain(subject: Subject, features: list[int], settings: ProbeSettings) -> Speed:
    prompt = _first_tree(subject, features[0], settings)
    vectors = feature_vectors(subject, features, settings.vector)
    start = time.perf_counter()
    grown = [plain_tree(subject, v, prompt.prompt_ids, prompt.ghost_position, settings.tree) for v in vectors]
    return Speed("plain", len(grown), sum(map(size, grown)), time.perf_counter() - start)


def _first_tree(subject: Subject, feature: int, settings: ProbeSettings) -> Tree:
    """Some tree, for its prompt."""
    shallow = settings.model_copy(update={"tree": settings.tree.model_copy(update={"max_depth": 1})})
    tree = run_probes(subject, [ProbeRequest("tree", feature, shallow)])[0]
    assert isinstance(tree, Tree)
    return tree


if __name__ == "__main__":
    main()
