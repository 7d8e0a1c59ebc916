"""Settings found for each feature: a cheap tree of every candidate vector, and the one that reads out best.

For `scale=auto` the candidates are scales, for `weights=auto` sides, for both all combinations. That the right scale
differs from feature to feature, and that the answer's entropy helps to find it, is from Kharlapenko, neverix, Nanda and
Conmy, "Self-explaining SAE features" (2024); where they use similarity to the feature's own direction, this uses the
tree's divergence from the null distribution. The best of many candidates looks good by chance, so it is compared with
the best that the same sweep finds for random features.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from probes import tree
from probes.evidence import Evidence, ProbeRequest, Sweep, SweepPoint, Tree
from probes.growing.tree_columns import entropy_bits
from probes.null.agreement import agreement
from probes.null.contrast import N_RANDOM, null_figures, p_value
from probes.null.directions import null_weights
from probes.settings import AUTO, VOCABULARY, ProbeSettings, TreeSettings, VectorSettings
from probes.subject import Subject

SCALES = (0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.4, 4.0)
"""Multiples of the subject's default scale. Elsewhere recovery was best from 2.1 to 3.4 of it and fell off at 5.5."""
WEIGHTS = (VOCABULARY, "encoder", "decoder", "blend:0.5")
CHEAP = TreeSettings(cutoff=0.05, max_depth=8, contrast=0.05)
"""All that the statistics need of a tree, but for its base prompt."""
ENTROPY_WEIGHT = 0.2
"""Nats of divergence that a bit of entropy outweighs. Chosen on a random half of the embedded subject's features of
known concept, where 0.1 to 0.5 do alike; on the other half divergence alone does as well, entropy alone and the
agreement of base prompts worse (tests/bench/sweep_criteria.py)."""
CRITERION = f"divergence from the null in nats less {ENTROPY_WEIGHT:g} times the first token's entropy in bits"
OTHER_PROMPTS = ("definition", "meaning", "word")
"""Base prompts whose trees are compared with those of the one asked for."""


@dataclass(frozen=True)
class SweepCase:
    """The settings and feature that a sweep depends on."""

    feature: int
    vector: VectorSettings
    """With something of it to be found."""
    prompt: str

    @classmethod
    def of(cls, request: ProbeRequest) -> "SweepCase":
        """The one that has to be settled before `request` can be answered."""
        return cls(request.feature, request.settings.vector, request.settings.tree.prompt)

    @property
    def prompts(self) -> tuple[str, ...]:
        """Its own base prompt, then the others."""
        return tuple(dict.fromkeys((self.prompt, *OTHER_PROMPTS)))


def needs_sweep(request: ProbeRequest) -> bool:
    """Tells whether the request is for a sweep or needs one; only trees and lists depend on a vector."""
    return request.kind == "sweep" or (request.kind in ("tree", "tokens") and request.settings.vector.is_auto)


def sweeps_for(subject: Subject, cases: Iterable[SweepCase]) -> dict[SweepCase, Sweep]:
    """The sweep of every case: all their candidates' trees grow together, then the chosen ones' of other base prompts.

    A feature without direction keeps the first side at the subject's own scale, with nothing measured.
    """
    default_scale = subject.card.default_scale
    candidates = {case: tuple(_candidates(case.vector, default_scale)) for case in cases}
    nulls = {kind: _null_scores(subject, *kind) for kind in {(case.prompt, candidates[case]) for case in candidates}}
    grid = [_request(case, vector, case.prompt) for case, vectors in candidates.items() for vector in vectors]
    trees = _grown(subject, grid)
    tried = {case: [*islice(trees, len(vectors))] for case, vectors in candidates.items()}
    chosen = {case: _best([*map(_point, trees)], default_scale) for case, trees in tried.items()}
    others = _grown(
        subject,
        [
            _request(case, candidates[case][best], prompt)
            for case, best in chosen.items()
            for prompt in case.prompts[1:]
        ],
    )
    return {
        case: Sweep(
            feature=case.feature,
            settings=tried[case][best].settings,
            criterion=CRITERION,
            points=tuple(map(_point, tried[case])),
            chosen=best,
            prompts=case.prompts,
            agreement=agreement([tried[case][best], *islice(others, len(case.prompts) - 1)]),
            p_value=_p_value(_point(tried[case][best]), nulls[case.prompt, candidates[case]]),
        )
        for case, best in chosen.items()
    }


def settled(request: ProbeRequest, sweeps: Mapping[SweepCase, Sweep]) -> ProbeRequest:
    """The request with the vector that its sweep chose, where something of it was to be found."""
    vector = request.settings.vector
    if not vector.is_auto:
        return request
    vector = sweeps[SweepCase.of(request)].best.vector if needs_sweep(request) else VectorSettings(weights="decoder")
    return replace(request, settings=request.settings.model_copy(update={"vector": vector}))


def as_selected(found: Evidence, request: ProbeRequest, sweeps: Mapping[SweepCase, Sweep]) -> Evidence:
    """The evidence for `request`; a tree whose vector was chosen by its sweep has the sweep's p-value."""
    if not (isinstance(found, Tree) and found.contrast and request.settings.vector.is_auto):
        return found
    sweep = sweeps[SweepCase.of(request)]
    p = 1.0 if sweep.p_value is None else sweep.p_value  # no candidate could be scored: none does worse
    contrast = replace(found.contrast, p_value=p, n_random=N_RANDOM, n_candidates=len(sweep.points))
    return replace(found, contrast=contrast)


def _null_scores(subject: Subject, prompt: str, candidates: Sequence[VectorSettings]) -> tuple[float, ...]:
    """Of each random feature, the largest score among its own candidates; nothing where there is no choice.

    Of a single side, random features are the directions that its trees are compared with, grown once for both.
    """
    if len(candidates) == 1:
        return ()
    if len({vector.weights for vector in candidates}) == 1:
        candidates = [vector.model_copy(update={"weights": null_weights(vector.weights)}) for vector in candidates]
    figures = null_figures(subject, _settings(prompt), candidates)
    scores = [map(_null_score, of.divergences, of.entropies_bits) for of in figures]
    return tuple(map(max, zip(*scores, strict=True)))


def _null_score(divergence: float, bits: float | None) -> float:
    return -math.inf if bits is None else _score(divergence, bits)


def _p_value(best: SweepPoint, null: Sequence[float]) -> float | None:
    return p_value(best.score, null) if null and best.score is not None else None


def _candidates(vector: VectorSettings, default_scale: float) -> Iterator[VectorSettings]:
    """Every vector that may be meant by one of which something is to be found."""
    own = vector.scaled(default_scale)
    axes: dict[str, Sequence[object]] = {
        "weights": WEIGHTS,
        "scale": [default_scale * multiple for multiple in SCALES],
    }
    values = [axis if getattr(own, name) == AUTO else [getattr(own, name)] for name, axis in axes.items()]
    for combination in product(*values):
        yield own.model_copy(update=dict(zip(axes, combination, strict=True)))


def _request(case: SweepCase, vector: VectorSettings, prompt: str) -> ProbeRequest:
    return ProbeRequest("tree", case.feature, ProbeSettings(vector=vector, tree=_settings(prompt)))


def _settings(prompt: str) -> TreeSettings:
    return CHEAP.model_copy(update={"prompt": prompt})


def _grown(subject: Subject, requests: Sequence[ProbeRequest]) -> Iterator[Tree]:
    return (grown for grown in tree.probe(subject, requests) if isinstance(grown, Tree))


def _point(grown: Tree) -> SweepPoint:
    """The statistics of a candidate, from its tree; a bare root has none."""
    vector, contrast = grown.settings.vector, grown.contrast
    if contrast is None:
        return SweepPoint(vector, score=None, divergence=None, p_value=None, entropy_bits=None)
    bits = entropy_bits(grown)
    return SweepPoint(
        vector=vector,
        score=_score(contrast.divergence, bits),
        divergence=contrast.divergence,
        p_value=contrast.p_value,
        entropy_bits=bits,
    )


def _score(divergence: float, bits: float) -> float:
    """The criterion."""
    return divergence - ENTROPY_WEIGHT * bits


def _best(points: Sequence[SweepPoint], default_scale: float) -> int:
    """Place of the largest score; of equals, the one nearest to the subject's own scale, sides in their order."""

    def rank(place: int) -> tuple[float, float]:
        score, scale = points[place].score, points[place].vector.distance or default_scale
        return math.inf if score is None else -score, abs(math.log(scale / default_scale))

    return min(range(len(points)), key=rank)
