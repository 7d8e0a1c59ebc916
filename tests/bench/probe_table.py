"""Which settings make the demo's trees name the known concepts of its features; chosen on one half, told of the other.

    python -m tests.bench.probe_table [--seed N] [--adapter SIDE=FILE ...]

A feature counts where the first of its tree's phrases names its concept; "of 3" where one of the first three does.
Phrases are ranked by probability (definitions), or by probability times lift (what is most the ghost's own).
Development half: features of every other concept, by a seeded shuffle, so that no concept is on both sides.
"""

import argparse
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import torch

from agent.evidence.definitions import defining_part, distinct, endings
from eval.collect.corpora import Faults, documents
from eval.collect.windows import first_ids
from eval.metrics import Estimate, paired_difference, share
from eval.scoring.known import known_concepts
from probes.activations import feature_activations
from probes.columns import Columns as SaeColumns
from probes.contrast import contrasts, random_directions
from probes.demo.shipped import KnownConcept, ShippedTruth
from probes.evidence import ProbeRequest, Tree
from probes.growth import Grower
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.prompt import prompt_ids
from probes.settings import ProbeSettings
from probes.subject import Subject, load_subject
from probes.vectors import placed, resolved

SCALES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5)
"""Multiples of the subject's default."""
STRENGTHS = (1.0, 2.0, 4.0)
CUTOFF = 2e-3
TEXTS, CONTEXT = 4000, 128


@dataclass(frozen=True)
class Way:
    """One row of the table: candidates of which the development half chooses, and how phrases are ranked."""

    name: str
    candidates: tuple[tuple[str, ProbeSettings], ...]
    by_lift: bool = False


@dataclass(frozen=True)
class Row:
    """What a way came to, on the half that chose nothing."""

    name: str
    chosen: str
    development: Estimate
    first: Estimate
    of_three: Estimate
    named: tuple[float, ...]
    failed: Estimate


def main() -> None:
    """Prints the table."""
    asked = _arguments()
    source = SubjectSource()
    subject, truth = load_subject(source), known_concepts(source)
    assert truth is not None
    features = truth.features
    development, reported = halves(features, asked.seed)
    print(f"{len(features)} features with a known concept: {len(development)} choose, {len(reported)} are reported on")
    maxima = _maxima(subject, [*features])
    rows: list[Row] = []

    @cache
    def trees(settings: ProbeSettings) -> dict[int, Tree]:
        return {tree.feature: tree for tree in _trees(subject, [*features], settings, maxima)}

    for way in ways(subject, asked.adapter):
        rows.append(measured(trees, truth, way, development, reported))
        print(_words(rows[-1], rows[0], asked.seed), flush=True)
    print(_random_failures(subject, asked.seed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--adapter", default=[], action="append", help="SIDE=FILE of a fitted adapter")
    return parser.parse_args()


def halves(features: Mapping[int, KnownConcept], seed: int) -> tuple[list[int], list[int]]:
    """Features to choose settings on, and those to report; features of one concept stay together."""
    concepts = sorted({concept.name for concept in features.values()})
    random.Random(seed).shuffle(concepts)
    first = set(concepts[::2])
    return [f for f in features if features[f].name in first], [f for f in features if features[f].name not in first]


def ways(subject: Subject, adapters: Sequence[str]) -> list[Way]:
    """The rows."""
    default = subject.card.default_scale

    def vector(weights: str, **more: object) -> tuple[tuple[str, ProbeSettings], ...]:
        return tuple((f"{s:g}x", _settings(vector={"weights": weights, "scale": s * default, **more})) for s in SCALES)

    sides = {side: vector(side) for side in ("encoder", "decoder", "blend:0.5")}
    every = tuple((f"{side} {name}", settings) for side, of in sides.items() for name, settings in of)
    unchosen = [Way(f"{side}, default scale", (("1x", _settings(vector={"weights": side})),)) for side in sides]
    return [
        *unchosen,
        *(Way(side, of) for side, of in sides.items()),
        *(Way(f"{side}, ranked by p x lift", of, by_lift=True) for side, of in sides.items()),
        Way("any side", every),
        Way("decoder, prompt meaning", tuple(_prompted(sides["decoder"], "meaning"))),
        Way("decoder, no centroid", vector("decoder", centroid=False)),
        Way("decoder, pca .1", vector("decoder", pca=(0.1,))),
        *(
            Way(f"{side}, scale auto", (("auto", _settings(vector={"weights": side, "scale": "auto"})),))
            for side in sides
        ),
        Way("all auto", (("auto", _settings(vector={"weights": "auto", "scale": "auto"})),)),
        *_steered(),
        *(_adapted(place) for place in adapters),
    ]


def _auto(side: str) -> Way:
    return Way(f"{side}, scale auto", (("auto", _settings(vector={"weights": side, "scale": "auto"})),))


def _prompted(candidates: Sequence[tuple[str, ProbeSettings]], prompt: str) -> list[tuple[str, ProbeSettings]]:
    tree = {"cutoff": CUTOFF, "prompt": prompt}
    return [(name, ProbeSettings.parse({"vector": dict(of.vector), "tree": tree})) for name, of in candidates]


def _steered() -> list[Way]:
    """Clamped alone, a pronoun in the ghost's place, and together with the ghost."""
    rows = []
    for ghost in (False, True):
        candidates = tuple(
            (
                f"{n:g} at {at}",
                _settings(steering={"mode": "clamp", "strength": n, "at": at, "ghost": ghost}),
            )
            for at in ("ghost", "after", "all")
            for n in STRENGTHS
        )
        rows.append(Way("clamped, with the ghost" if ghost else "clamped alone", candidates))
    return rows


def _adapted(place: str) -> Way:
    side, _, file = place.partition("=")
    return Way(f"{side}, adapter", ((Path(file).name, _settings(vector={"weights": side, "adapter": file})),))


def _settings(**parts: object) -> ProbeSettings:
    return ProbeSettings.parse({"tree": {"cutoff": CUTOFF}, **parts})


def measured(
    trees: Callable[[ProbeSettings], dict[int, Tree]],
    truth: ShippedTruth,
    way: Way,
    development: Sequence[int],
    reported: Sequence[int],
) -> Row:
    """Chooses the candidate that names most on the development half."""
    found = {name: trees(settings) for name, settings in way.candidates}

    def right(name: str, of: Sequence[int], most: int) -> list[bool]:
        return [_names(found[name][feature], truth, way.by_lift, most) for feature in of]

    best = max(found, key=lambda name: sum(right(name, development, 1)))
    on_development, first, three = right(best, development, 1), right(best, reported, 1), right(best, reported, 3)
    failed = [tree.contrast.failed for f in reported if (tree := found[best][f]).contrast is not None]
    return Row(
        way.name,
        best,
        share(sum(on_development), len(on_development)),
        share(sum(first), len(first)),
        share(sum(three), len(three)),
        tuple(map(float, first)),
        share(sum(failed), len(failed)),
    )


def _trees(
    subject: Subject, features: Sequence[int], settings: ProbeSettings, maxima: Mapping[int, float]
) -> list[Tree]:
    def own(feature: int) -> ProbeSettings:
        if not settings.steering.on:
            return settings
        steering = settings.steering.model_copy(update={"maximum": maxima[feature]})
        return settings.model_copy(update={"steering": steering})

    trees = run_probes(subject, [ProbeRequest("tree", feature, own(feature)) for feature in features])
    return [tree for tree in trees if isinstance(tree, Tree)]


@torch.inference_mode()
def _maxima(subject: Subject, features: Sequence[int]) -> dict[int, float]:
    """The unit of steering: how active each feature gets on so much text of the demo's world."""
    columns = SaeColumns(subject.sae, features)
    highest = torch.zeros(len(features))
    for document in islice(documents("demo", Faults()), TEXTS):
        ids = torch.tensor([[*first_ids(subject), *subject.tokenizer.encode(document.text, add_special_tokens=False)]])
        active = feature_activations(subject, columns, ids[:, :CONTEXT])[0, len(first_ids(subject)) :]
        highest = torch.maximum(highest, active.amax(dim=0))
    return dict(zip(features, highest.tolist(), strict=True))


def _names(tree: Tree, truth: ShippedTruth, by_lift: bool, most: int) -> bool:
    """Whether one of the first phrases names the feature's concept before any other."""
    part = defining_part(tree)
    phrases = distinct(part, most) if by_lift else endings(part)[:most]
    return any(_first_named(phrase.text, truth) == truth.features[tree.feature].name for phrase in phrases)


def _first_named(text: str, truth: ShippedTruth) -> str | None:
    words = re.findall(r"[a-z]+", text)
    return next((truth.concept_of_name[word] for word in words if word in truth.concept_of_name), None)


def _words(row: Row, base: Row, seed: int) -> str:
    against = "" if row is base else f"  {_figure(paired_difference(row.named, base.named, seed), sign=True)}"
    return (
        f"{row.name:32} {row.chosen:18} dev {row.development.value:.2f}  first {_figure(row.first)}  "
        f"of 3 {_figure(row.of_three)}  failed {_figure(row.failed)}{against}"
    )


def _figure(estimate: Estimate, sign: bool = False) -> str:
    if estimate.value is None:
        return "-"
    form = "+.2f" if sign else ".2f"
    return f"{estimate.value:{form}} [{estimate.low:.2f}, {estimate.high:.2f}] n {estimate.n}"


def _random_failures(subject: Subject, seed: int) -> str:
    """Random directions, others than the yardstick's, that are flagged."""
    settings = resolved(subject, _settings())
    prompt = prompt_ids(subject.tokenizer, settings.tree.prompt_text, subject.card.placeholder_id)
    grower = Grower(subject, prompt, settings.tree)
    drawn = random_directions(subject.card.d_model, 400, seed + 1)
    with torch.inference_mode():
        trees = [*grower.grow(placed(subject, drawn, settings.vector) * subject.input_scale)]
    found = contrasts(subject, grower, trees, settings.vector)
    failed = sum(one is not None and one.failed for one in found)
    return f"random directions flagged as failed readouts: {_figure(share(failed, len(found)))}"


if __name__ == "__main__":
    main()
