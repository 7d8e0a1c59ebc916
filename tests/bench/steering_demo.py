"""Steering on the embedded subject: of the features whose concept is known, how many does the model then define by it?

    python -m tests.bench.steering_demo [--seeds N]

A definition is the greedy one, as in the readout ladder (`probes.demo.ladder`). The way of steering is chosen on half
of the concepts and reported on the features of the other half, beside unsteered encoder and decoder ghosts.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from eval.collect.corpora import CorpusFaults, documents
from eval.collect.windows import WindowCutter
from eval.metrics import Estimate, paired_difference
from eval.scoring.known import known_concepts
from probes.activations import feature_activations
from probes.columns import Columns
from probes.demo.ladder import GREEDY, named_concept
from probes.demo.shipped import ShippedTruth
from probes.evidence import ProbeRequest, Tree
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.proportion import Proportion
from probes.settings import ProbeSettings, SteeringSettings, VectorSettings
from probes.subject import Subject, load_subject

TOKENS = 300_000
STRENGTHS = (0.5, 1.0, 2.0, 3.0, 4.0, 8.0)
PLAIN = {side: ProbeSettings(vector=VectorSettings(weights=side), tree=GREEDY) for side in ("encoder", "decoder")}


def maxima(subject: Subject, features: Sequence[int], n_tokens: int = TOKENS, seed: int = 0) -> dict[int, float]:
    """The highest activation of each on the demo's own text."""
    columns = Columns(subject.sae, features)
    highest = torch.zeros(len(features))
    for batch in WindowCutter(subject, 128, 16_384).batches(documents("demo", CorpusFaults(), seed=seed), n_tokens):
        found = feature_activations(subject, columns, torch.from_numpy(batch.ids))
        highest = highest.maximum((found * torch.from_numpy(batch.counted)[..., None]).amax(dim=(0, 1)).cpu())
    return dict(zip(features, highest.tolist(), strict=True))


def ways(ghost: bool) -> Iterator[tuple[str, SteeringSettings]]:
    """The steering settings that are compared, by name."""
    for mode in ("clamp", "add"):
        for at in ("ghost", "all", "after"):
            for strength in STRENGTHS:
                name = f"{mode} {strength:g}x {at}{', with ghost' if ghost else ''}"
                yield name, SteeringSettings.parse({"mode": mode, "strength": strength, "at": at, "ghost": ghost})


def steered_settings() -> dict[str, ProbeSettings]:
    """Every way, alone and together with a decoder ghost; `with_maximum` makes them a feature's."""
    alone = {name: ProbeSettings(tree=GREEDY, steering=way) for name, way in ways(ghost=False)}
    decoder = VectorSettings(weights="decoder")
    both = {name: ProbeSettings(vector=decoder, tree=GREEDY, steering=way) for name, way in ways(ghost=True)}
    return alone | both


def with_maximum(settings: ProbeSettings, maximum: float) -> ProbeSettings:
    """The settings for a feature whose highest activation this is."""
    if not settings.steering.on:
        return settings
    return settings.model_copy(update={"steering": settings.steering.model_copy(update={"maximum": maximum})})


def named(
    subject: Subject, settings: ProbeSettings, highest: Mapping[int, float], truth: ShippedTruth
) -> dict[int, bool]:
    """Tells whether each feature's definition names its concept first of all concepts."""
    features = [*truth.features]
    requests = [ProbeRequest("tree", f, with_maximum(settings, highest[f])) for f in features]
    return {
        feature: named_concept(_definition(subject, tree), truth) == truth.features[feature].name
        for feature, tree in zip(features, run_probes(subject, requests), strict=True)
    }


def _definition(subject: Subject, tree: object) -> str:
    assert isinstance(tree, Tree)
    return str(subject.tokenizer.decode(tree.token_ids[1:])).split('"')[0]


@dataclass(frozen=True)
class Chosen:
    """The way that named most on the development half, on the other one."""

    name: str
    share: Proportion
    over_decoder: Estimate


def choose(found: Mapping[str, Mapping[int, bool]], names: Sequence[str], truth: ShippedTruth, seed: int) -> Chosen:
    """Chosen by concept: features of one concept are on one side."""
    concepts = sorted({concept.name for concept in truth.features.values()})
    shuffled = np.random.default_rng(seed).permutation(concepts).tolist()
    development = set(shuffled[: len(concepts) // 2])
    dev, rest = ([f for f, c in truth.features.items() if (c.name in development) == side] for side in (True, False))
    best = max(names, key=lambda name: sum(found[name][f] for f in dev))
    right = [found[best][f] for f in rest]
    difference = paired_difference([*map(float, right)], [float(found["decoder"][f]) for f in rest], seed)
    return Chosen(best, Proportion(sum(right), len(right)), difference)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    seeds = parser.parse_args().seeds
    subject, truth = load_subject(SubjectSource()), known_concepts(SubjectSource())
    assert truth is not None
    highest = maxima(subject, [*truth.features])
    settings = PLAIN | steered_settings()
    found = {name: named(subject, one, highest, truth) for name, one in settings.items()}
    for name, right in found.items():
        print(f"{name:36} {Proportion(sum(right.values()), len(right))}")
    groups = {
        "alone": [n for n in settings if n not in PLAIN and "with ghost" not in n],
        "with ghost": [n for n in settings if "with ghost" in n],
    }
    for seed in range(seeds):
        for group, names in groups.items():
            best = choose(found, names, truth, seed)
            d = best.over_decoder
            print(
                f"seed {seed}, {group}: {best.name}: {best.share}, n {best.share.n};"
                f" over the decoder {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
            )


if __name__ == "__main__":
    main()
