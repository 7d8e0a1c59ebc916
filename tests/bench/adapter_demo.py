"""Measures whether a fitted adapter makes the demo's ghosts name more of the known concepts than centroid and scale do.

    python -m tests.bench.adapter_demo [--splits N] [--weights encoder,decoder] [--json FILE]

Each split holds a fifth of the concepts out, with all their features. On the rest a scale is chosen (of the ladder's
nine, the one that names most) and adapters are fitted; all are then read on the features held out, greedily. A
feature's value is the share of the splits that hold it out in which its concept is named; intervals are bootstraps over
features, and differences are paired.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from agent.log.rows import now
from agent.log.runs import versions
from eval.metrics import Estimate, mean, paired_difference
from probes.demo.ladder import SCALES, definitions, named_concept
from probes.demo.shipped import load_truth
from probes.demo.world import World, load_world
from probes.ghost.adapter import FitSettings
from probes.ghost.fitting import fit, split
from probes.ghost.label_loss import LabelPair
from probes.ghost.vectors import directions
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject

HOLD_OUT = 0.2
DEFAULT, BEST = "centroid + default scale", "centroid + best scale"
PAPER = '{label}"'
ADAPTERS: Mapping[str, Mapping[str, str]] = {
    "adapter: scale and bias": {},
    "adapter: bias": {"learn": "bias"},
    "adapter: scale": {"learn": "scale"},
    "adapter, the label alone": {"wording": PAPER},
}
Values = Mapping[str, Mapping[int, Sequence[bool]]]
"""By way and feature, whether its concept was named, each time it was held out."""


def main() -> None:
    """Fits, reads, prints."""
    asked = _arguments()
    subject, world = load_subject(SubjectSource(device="cpu")), load_world()
    found = {}
    for weights in asked.weights.split(","):
        found[weights] = _measured(subject, world, weights, asked.splits)
        _print(weights, found[weights], asked.splits)
    if asked.json is not None:
        told = {"created": now(), "versions": versions(), "splits": asked.splits, "named": found}
        asked.json.write_text(json.dumps(told), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--weights", default="encoder,decoder")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _measured(subject: Subject, world: World, weights: str, splits: int) -> Values:
    pairs = [LabelPair(feature, concept.name) for feature, concept in sorted(load_truth().features.items())]
    found: dict[str, dict[int, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for seed in range(splits):
        for way, pair, named in _one_split(subject, world, weights, pairs, seed):
            found[way][pair.feature].append(named)
    return found


def _one_split(
    subject: Subject, world: World, weights: str, pairs: Sequence[LabelPair], seed: int
) -> Iterator[tuple[str, LabelPair, bool]]:
    parts = split(pairs, HOLD_OUT, seed)
    plain = FitSettings(weights=weights, seed=seed)
    fitted_on, held_out = (
        directions(subject, [pair.feature for pair in part], plain.weights)
        for part in ([*parts.train, *parts.validation], parts.held_out)
    )
    default = subject.card.default_scale

    def named(part: Sequence[LabelPair], vectors: torch.Tensor) -> list[bool]:
        texts = definitions(subject, vectors)
        return [named_concept(text, world) == pair.label for text, pair in zip(texts, part, strict=True)]

    def n_named(scale: float) -> int:
        return sum(named([*parts.train, *parts.validation], subject.centroid + scale * default * fitted_on))

    ways = {DEFAULT: subject.centroid + default * held_out}
    ways[BEST] = subject.centroid + max(SCALES, key=n_named) * default * held_out
    for name, changes in ADAPTERS.items():
        adapter = fit(subject, parts, FitSettings.parse({"weights": weights, "seed": seed, **changes}))
        ways[name] = adapter.scale * held_out + adapter.bias
    for name, vectors in ways.items():
        yield from zip([name] * len(held_out), parts.held_out, named(parts.held_out, vectors), strict=True)


def _print(weights: str, found: Values, splits: int) -> None:
    features = sorted(found[DEFAULT])
    table = Table(title=f"{weights}, {splits} splits, {len(features)} features", title_justify="left")
    for column in ("vector", "named", "ahead of default scale", "ahead of best scale"):
        table.add_column(column)
    values = {way: [sum(named[f]) / len(named[f]) for f in features] for way, named in found.items()}
    for way, own in values.items():
        ahead = [_words(paired_difference(own, values[base], 0), "+") for base in (DEFAULT, BEST)]
        table.add_row(way, _words(mean(own, 0), ""), *ahead)
    Console(width=110).print(table)


def _words(found: Estimate, sign: str) -> str:
    return f"{found.value:{sign}.3f} [{found.low:{sign}.3f}, {found.high:{sign}.3f}]"


if __name__ == "__main__":
    main()
