"""Which settings make the demo's trees name the known concepts of its features; chosen on one half, told of the other.

    python -m tests.bench.probe_table [--seed N]

A feature counts where the first of its tree's phrases names its concept; "of 3" where one of the first three does.
Phrases are ranked by probability (definitions), or by probability times lift (what is most the ghost's own).
Development half: features of every other concept, by a seeded shuffle, so that no concept is on both sides; adapters
are fitted to that half alone.
"""

import argparse
import random
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import torch

from agent.evidence.definitions import defining_part, distinct, endings
from agent.log.rows import now
from agent.log.runs import versions
from eval.collect.corpora import CorpusFaults, documents
from eval.metrics import Estimate, paired_difference, proportion
from eval.scoring.known import known_concepts
from probes.activations import feature_activations
from probes.columns import Columns as SaeColumns
from probes.demo.shipped import KnownConcept, ShippedTruth
from probes.evidence import ProbeRequest, Tree
from probes.ghost.adapter import Adapter, FitRecord, FitSettings, PartRecord, write_adapter
from probes.ghost.fitting import Losses, fit, split
from probes.ghost.label_loss import LabelPair
from probes.presets import SubjectSource
from probes.probe import run_probes
from probes.settings import ProbeSettings
from probes.subject import Subject, first_ids, load_subject

SIDES = ("encoder", "decoder", "blend:0.5")
SCALES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
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
    flagged: Estimate


def main() -> None:
    """Prints the table."""
    asked = _arguments()
    source = SubjectSource()
    subject, truth = load_subject(source), known_concepts(source)
    assert truth is not None
    print(now(), *(f"{package} {version}" for package, version in versions().items()), sep="  ")
    features = truth.features
    development, reported = halves(features, asked.seed)
    print(f"{len(features)} features with a known concept: {len(development)} choose, {len(reported)} are reported on")
    maxima = _maxima(subject, [*features])
    rows: list[Row] = []

    @cache
    def trees(settings: ProbeSettings) -> dict[int, Tree]:
        return {tree.feature: tree for tree in grown(subject, [*features], settings, maxima)}

    with tempfile.TemporaryDirectory() as folder:
        pairs = [LabelPair(feature, features[feature].name) for feature in development]
        for way in [*ways(subject), *adapted(subject, pairs, Path(folder), asked.seed)]:
            rows.append(measured(trees, truth, way, development, reported))
            print(_words(rows[-1], rows[0], asked.seed), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default=0, type=int)
    return parser.parse_args()


def halves(features: Mapping[int, KnownConcept], seed: int) -> tuple[list[int], list[int]]:
    """Features to choose settings on, and those to report; features of one concept stay together."""
    concepts = sorted({concept.name for concept in features.values()})
    random.Random(seed).shuffle(concepts)
    first = set(concepts[::2])
    return [f for f in features if features[f].name in first], [f for f in features if features[f].name not in first]


def ways(subject: Subject) -> list[Way]:
    """The rows but for the adapters'."""
    default = subject.card.default_scale

    def vector(weights: str, **more: object) -> tuple[tuple[str, ProbeSettings], ...]:
        return tuple(
            (f"{s:g}x", settings_of(vector={"weights": weights, "scale": s * default, **more})) for s in SCALES
        )

    sides = {side: vector(side) for side in SIDES}
    every = tuple((f"{side} {name}", settings) for side, of in sides.items() for name, settings in of)
    unchosen = [Way(f"{side}, default scale", (("1x", settings_of(vector={"weights": side})),)) for side in sides]
    return [
        *unchosen,
        *(Way(side, of) for side, of in sides.items()),
        *(Way(f"{side}, ranked by p x lift", of, by_lift=True) for side, of in sides.items()),
        Way("any side", every),
        Way("decoder, prompt meaning", tuple(_prompted(sides["decoder"], "meaning"))),
        Way("decoder, no centroid", vector("decoder", centroid=False)),
        Way("decoder, pca .1", vector("decoder", pca=(0.1,))),
        *(_auto(f"{side}, scale auto", weights=side, scale="auto") for side in sides),
        _auto("side and scale auto", weights="auto", scale="auto"),
        *_steered(),
    ]


def _auto(name: str, **vector: str) -> Way:
    return Way(name, (("auto", settings_of(vector=vector)),))


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
                settings_of(steering={"mode": "clamp", "strength": n, "at": at, "ghost": ghost}),
            )
            for at in ("ghost", "after", "all")
            for n in STRENGTHS
        )
        rows.append(Way("clamped, with the ghost" if ghost else "clamped alone", candidates))
    return rows


def adapted(subject: Subject, pairs: Sequence[LabelPair], folder: Path, seed: int) -> Iterator[Way]:
    """Adapters fitted to these pairs, a fifth of whose concepts say when to stop; nothing chooses among them."""
    for side in SIDES:
        settings, parts = FitSettings(weights=side, seed=seed), split(pairs, 0.0, seed)
        fitted = fit(subject, parts, settings)
        record = FitRecord(
            subject=subject.card.name,
            fingerprint=subject.card.fingerprint,
            d_model=subject.card.d_model,
            labels="known concepts of the development half",
            settings=settings,
            steps=fitted.steps,
            train=_part(parts.train, fitted.train),
            validation=_part(parts.validation, fitted.validation),
            held_out=_part(parts.held_out, fitted.held_out),
            versions=versions(),
            created=now(),
        )
        file = write_adapter(folder / f"{side[:5]}.safetensors", Adapter(fitted.scale, fitted.bias, record))
        candidate = f"{fitted.steps} steps", settings_of(vector={"weights": side, "adapter": file.path})
        yield Way(f"{side}, adapter", (candidate,))


def _part(pairs: Sequence[LabelPair], losses: Losses) -> PartRecord:
    return PartRecord(features=tuple(pair.feature for pair in pairs), start=tuple(losses.start), end=tuple(losses.end))


def settings_of(**parts: object) -> ProbeSettings:
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
        return [names(found[name][feature], truth, way.by_lift, most) for feature in of]

    best = max(found, key=lambda name: sum(right(name, development, 1)))
    on_development, first, three = right(best, development, 1), right(best, reported, 1), right(best, reported, 3)
    flagged = [tree.contrast.failed for f in reported if (tree := found[best][f]).contrast is not None]
    return Row(
        way.name,
        best,
        proportion(sum(on_development), len(on_development)),
        proportion(sum(first), len(first)),
        proportion(sum(three), len(three)),
        tuple(map(float, first)),
        proportion(sum(flagged), len(flagged)),
    )


def grown(
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
    for document in islice(documents("demo", CorpusFaults()), TEXTS):
        ids = torch.tensor([[*first_ids(subject), *subject.tokenizer.encode(document.text, add_special_tokens=False)]])
        active = feature_activations(subject, columns, ids[:, :CONTEXT])[0, len(first_ids(subject)) :]
        highest = torch.maximum(highest, active.amax(dim=0))
    return dict(zip(features, highest.tolist(), strict=True))


def names(tree: Tree, truth: ShippedTruth, by_lift: bool, most: int) -> bool:
    """Tells whether one of the first phrases names the feature's concept before any other."""
    part = defining_part(tree)
    phrases = distinct(part, most) if by_lift else endings(part)[:most]
    return any(_first_named(phrase.text, truth) == truth.features[tree.feature].name for phrase in phrases)


def _first_named(text: str, truth: ShippedTruth) -> str | None:
    words = re.findall(r"[a-z]+", text)
    return next((truth.concept_of_name[word] for word in words if word in truth.concept_of_name), None)


def _words(row: Row, base: Row, seed: int) -> str:
    against = "" if row is base else f"  {figure(paired_difference(row.named, base.named, seed), sign=True)}"
    return (
        f"{row.name:32} {row.chosen:18} dev {row.development.value:.2f}  first {figure(row.first)}  "
        f"of 3 {figure(row.of_three)}  flagged {figure(row.flagged)}{against}"
    )


def figure(estimate: Estimate, sign: bool = False) -> str:
    if estimate.value is None:
        return "-"
    form = "+.2f" if sign else ".2f"
    return f"{estimate.value:{form}} [{estimate.low:.2f}, {estimate.high:.2f}] n {estimate.n}"


if __name__ == "__main__":
    main()
