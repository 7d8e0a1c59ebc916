"""The demo's card: its measures, its truth and its ladder, written as data and as a page to read. Measures nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from probes.demo.ladder import Ladder
from probes.demo.truth import MIN_PRECISION, MIN_WORD_TYPES, FeatureTruth
from probes.demo.world import World
from probes.proportion import Proportion
from probes.training.measures import Measures

_AIMS = {
    "defined_words": ("(a) a word's own embedding row", ".90"),
    "undefined_words": ("(b) the row of a word never defined in training", ".60"),
    "mean_rows": ("(c) the mean row of a concept's members", ".90"),
    "features": ("(d) ghosts of features with a known concept, other half", ".60"),
    "random": ("(e) random directions of the same norm", "base rate + .05"),
    "base_rate": ("base rate: always naming (d)'s commonest concept", ""),
}


@dataclass(frozen=True)
class DemoCard:
    """Everything measured on the shipped, rounded weights."""

    facts: dict[str, str]
    """How the subject was made, in words."""
    measures: Measures
    ladder: Ladder
    truths: Sequence[FeatureTruth]


def write_card(folder: Path, card: DemoCard, world: World) -> None:
    """Writes `truth.json`, `card.json` and `CARD.md`."""
    truth = {
        "concepts": {
            name: {"lineage": world.lineage(name), "names": concept.names} for name, concept in world.concepts.items()
        },
        "features": [_rounded(asdict(t)) for t in card.truths],
    }
    _write_json(folder / "truth.json", truth)
    ladder = {name: _share(getattr(card.ladder, name)) for name in _AIMS}
    readings = [{"weights": r.weights, "scale": r.scale, **_share(r.share)} for r in card.ladder.curve]
    data = {"facts": card.facts, "measures": _rounded(asdict(card.measures)), "ladder": ladder, "readings": readings}
    _write_json(folder / "card.json", data)
    (folder / "CARD.md").write_text(_page(card), "utf-8")


def _page(card: DemoCard) -> str:
    m, ladder = card.measures, card.ladder
    known = [t for t in card.truths if t.known]
    concepts = {t.concept for t in known}
    facts = "\n".join(f"- {name}: {fact}" for name, fact in card.facts.items())
    rungs = "\n".join(
        f"| {words} | {aim} | {getattr(ladder, name)} | {getattr(ladder, name).n} |"
        for name, (words, aim) in _AIMS.items()
    )
    return f"""# The embedded subject, `demo`

A tiny Gemma and its SAE, really trained, on text about a small made-up world. All figures below were measured on the
shipped weights by the command that made them, `python -m probes.demo.build`; nothing here is typed by hand.

{facts}

## Model and SAE

On {m.n_tokens:,} tokens of unseen text, `<bos>` left out.

| measure | aim | value |
|---|---|---|
| loss, nats per token | | {m.loss:.3f} |
| loss with the SAE in place | | {m.loss_with_sae:.3f} |
| loss with zeros in place | | {m.loss_with_zero:.3f} |
| loss recovered | | {m.loss_recovered:.3f} |
| L0 | <= 24 | {m.l0:.1f} |
| explained variance | >= .85 | {m.explained_variance:.3f} |
| dead features | | {m.dead_share:.1%} |

## Known concepts

A feature has a known concept when it activates, above a threshold of its own, on at least {MIN_WORD_TYPES} of the
concept's words with precision {MIN_PRECISION} or more. Concept and threshold were chosen on one half of the text; the
figures are the other half's.

| measure | aim | value |
|---|---|---|
| live features | | {len(card.truths)} |
| features with a known concept | >= 100 | {len(known)} |
| different concepts among them | >= 40 | {len(concepts)} |
| of those features, F1 >= .8 | | {sum(t.fit.f1 >= 0.8 for t in known)} |
| median precision, recall, F1 | | {_medians(known, at_zero=False)} |
| the same at threshold 0 | | {_medians(known, at_zero=True)} |

`truth.json` has every live feature's row, known concept or not, with what the feature promotes among the next tokens.

## The readout ladder

Share of vectors whose greedy definition names the most specific right concept first, with a 95 % interval (Wilson).

| rung | aim | share | n |
|---|---|---|---|
{rungs}

Side and scale of (d) were chosen on features of the development half of the concepts: **{ladder.chosen.weights}** at
{ladder.chosen.scale} times the default scale, with {ladder.chosen.share} there (n = {ladder.chosen.share.n}).
Every setting, on all features with a known concept:

{_curve(ladder)}
"""


def _curve(ladder: Ladder) -> str:
    sides = list(dict.fromkeys(r.weights for r in ladder.curve))
    shares = {(r.weights, r.scale): r.share for r in ladder.curve}
    scales = sorted({r.scale for r in ladder.curve})
    rows = [f"| {scale} | " + " | ".join(str(shares[side, scale]) for side in sides) + " |" for scale in scales]
    return "\n".join(["| scale | " + " | ".join(sides) + " |", "|---" * (len(sides) + 1) + "|", *rows])


def _medians(truths: Sequence[FeatureTruth], at_zero: bool) -> str:
    """Median precision, recall and F1."""
    fits = [t.at_zero if at_zero else t.fit for t in truths]
    return ", ".join(f"{median(getattr(fit, name) for fit in fits):.2f}" for name in ("precision", "recall", "f1"))


def _share(share: Proportion) -> dict[str, object]:
    low, high = share.interval
    return {"share": round(share.value, 4), "low": round(low, 4), "high": round(high, 4), "k": share.k, "n": share.n}


def _rounded(data: dict[str, object]) -> dict[str, object]:
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, 5) if isinstance(value, float) else value
        for key, value in data.items()
    }


def _write_json(path: Path, data: Mapping[str, object]) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", "utf-8")
