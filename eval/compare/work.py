"""A grid worked through: what the log lacks is probed, measured and kept, some features at a time."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

from agent.log.comparisons import ComparisonIdentity, FitRow, add_fits, begin_comparison, comparisons_of, fits_of
from agent.log.evidence import add_evidence, evidence_by_id, evidence_keys, evidence_of, evidence_rows, has_evidence
from agent.log.examples import features_collected
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, all_runs, find_run
from eval.compare.fit import FeatureReadout, FitTools, by_itself, feature_readouts, on_texts
from eval.compare.held_out_examples import NOT_COLLECTED, HeldOutExamples, held_out_examples
from eval.metrics import Estimate
from eval.scorers.base import Embedder
from probes.essence import essence_of
from probes.evidence import Evidence, ProbeRequest, Tree
from probes.examples import ExampleKind
from probes.null.directions import null_weights
from probes.probe import run_probes
from probes.settings import ProbeKind, ProbeSettings, TreeSettings, VectorSettings

REQUESTS = 512
"""Most trees and lists that are made before they are kept, about."""
FEATURES = 64
"""Most features at a time."""
TRIAL_TREES = 5
"""Trees that tell how long a plan will take."""
MIN_TREES_FOR_TRIAL = 50
"""Least trees of a plan for that."""
N_CONTROLS = 3
"""Features whose texts are the control for each."""

_KINDS: tuple[ProbeKind, ...] = ("tree", "tokens")
Key = tuple[int, str]
"""A feature and the essence of its evidence."""


@dataclass(frozen=True)
class ComparisonPlan:
    """The work to be done for a grid and some features."""

    settings: Sequence[ProbeSettings]
    features: Sequence[int]
    """All that were asked for: which of them come next to each other decides the controls, done before or not."""
    lacking: Mapping[ProbeSettings, frozenset[int]]
    """The features not yet measured under each of the settings."""
    known: Mapping[Key, int]
    """The ids of the evidence that the log has."""

    @property
    def requests(self) -> dict[Key, ProbeRequest]:
        """Returns the probe requests of a setting for a feature."""
        return self.lacking_evidence(self.features)

    def lacking_evidence(self, features: Collection[int]) -> dict[Key, ProbeRequest]:
        """Returns the probe requests whose evidence the log lacks, each once."""
        return {
            (feature, essence_of(kind, setting)): ProbeRequest(kind, feature, setting)
            for setting in self.settings
            for feature in features
            if feature in self.lacking[setting]
            for kind in _KINDS
            if (feature, essence_of(kind, setting)) not in self.known
        }


@dataclass(frozen=True)
class TimingTrial:
    """An estimate of a plan's duration, from a few of its trees."""

    n: int
    """Trees tried."""
    seconds: float
    expected_s: float


@dataclass(frozen=True)
class ComparisonRows:
    """The log's rows that new evidence and fits go to."""

    run_id: int
    comparison_id: int


@dataclass(frozen=True)
class ComparisonWork:
    """The tools through which settings are compared."""

    log: RunLog
    tools: FitTools
    embedder: Embedder
    """Of texts."""
    negatives: Collection[ExampleKind]
    run: RunIdentity
    """Of the evidence."""
    corpus_id: int
    settings: Mapping[str, Any]
    """What decides the figures besides run, corpus and setting."""
    maxima: Mapping[int, float] = field(default_factory=dict)
    """The features' maximum activations, where settings are steered by them."""

    def plan(self, settings: Sequence[ProbeSettings], features: Sequence[int]) -> ComparisonPlan:
        """Plans the work that the log lacks of the settings on the features, in that order. Writes nothing."""
        id = self._comparison_id()
        lacking = {setting: frozenset(features) - self._measured(id, setting) for setting in settings}
        keys = self.log.read(evidence_keys, self._runs_of_subject(), frozenset().union(*lacking.values()))
        known = {
            (key.feature, essence_of(key.kind, key.settings)): key.evidence_id for key in keys if key.kind in _KINDS
        }
        return ComparisonPlan(settings, features, lacking, known)

    def tried(self, plan: ComparisonPlan) -> TimingTrial | None:
        """Estimates the plan's duration; None for a small one. The evidence made for that is thrown away.

        The first tree of a kind of vector and tree also waits for what all of the kind are compared with; later ones do
        not. Lists take no time beside trees.
        """
        trees = [request for request in plan.requests.values() if request.kind == "tree"]
        if len(trees) < MIN_TREES_FOR_TRIAL:
            return None
        alike = [self._measured_by(tree) for tree in trees if tree.settings == trees[0].settings][:TRIAL_TREES]
        first, others = self._seconds(alike[:1]), self._seconds(alike[1:])
        each = others / len(alike[1:]) if alike[1:] else first
        kinds = {_kind_of(setting) for setting, some in plan.lacking.items() if some}
        return TimingTrial(len(alike), first + others, each * len(trees) + max(first - each, 0) * len(kinds))

    def _seconds(self, requests: Sequence[ProbeRequest]) -> float:
        started = time.monotonic()
        run_probes(self.tools.subject, requests)
        return time.monotonic() - started

    def begin(self, features: Sequence[int]) -> ComparisonRows:
        """The run and the comparison, made if there are none. Raises LogError while another process writes them."""
        run_id = self.log.begin_run(self.run, features).run_id
        return ComparisonRows(run_id, self.log.write(begin_comparison, self._identity(run_id)).result())

    def _identity(self, run_id: int) -> ComparisonIdentity:
        return ComparisonIdentity(run_id=run_id, corpus_id=self.corpus_id, settings=dict(self.settings))

    def _comparison_id(self) -> int | None:
        """The comparison that `begin` would go on with."""
        run_id = self.log.read(find_run, self.run)
        mine = (run_id, self.corpus_id, self.settings)
        found = self.log.read(comparisons_of, self.run.subject.fingerprint)
        return next((c.comparison_id for c in found if (c.run_id, c.corpus_id, c.settings) == mine), None)

    def work(self, plan: ComparisonPlan, place: ComparisonRows) -> Iterator[int]:
        """Does what the plan says; yields how many probes each batch took, once what came of it is in the log."""
        step = max(2, min(FEATURES, REQUESTS // (len(_KINDS) * len(plan.settings))))
        for start in range(0, len(plan.features), step):
            some = plan.features[start : start + step]
            if not any(plan.lacking[setting].intersection(some) for setting in plan.settings):
                continue
            requests = plan.lacking_evidence(some)
            evidence = self._probed(requests, place.run_id) | self._kept(plan, some)
            self._measure(plan, place.comparison_id, some, evidence)
            yield len(requests)

    def _measured(self, comparison_id: int | None, setting: ProbeSettings) -> set[int]:
        """The features that are done, those among them left out whose texts have come since."""
        if comparison_id is None:
            return set()
        found = [fit for fit in self.log.read(fits_of, comparison_id, setting) if fit.is_own]
        collected = self.log.read(features_collected, self.corpus_id)
        again = {fit.feature for fit in found if fit.reason == NOT_COLLECTED and fit.feature in collected}
        return {fit.feature for fit in found} - again

    def _runs_of_subject(self) -> list[int]:
        """The runs whose evidence is of this very subject, on whatever device."""
        card = self.tools.subject.card.model_dump(mode="json", exclude={"device"})
        runs = self.log.read(all_runs)
        return [run.run_id for run in runs if all(run.subject.get(name) == value for name, value in card.items())]

    def _probed(self, requests: Mapping[Key, ProbeRequest], run_id: int) -> dict[Key, Evidence]:
        """New evidence, in the log as each feature's next round: all of it or none, and as the log has it, so that
        what is measured is the same whether a comparison was cut off or not."""
        made = run_probes(self.tools.subject, [self._measured_by(request) for request in requests.values()])
        rounds: dict[int, list[Evidence]] = {}
        for (feature, _), evidence in zip(requests, made, strict=True):
            rounds.setdefault(feature, []).append(evidence)
        places = {feature: self._next_round(run_id, feature) for feature in rounds}
        kept_rows = (evidence_rows(run_id, feature, places[feature], mine) for feature, mine in rounds.items())
        self.log.write(add_evidence, [*chain.from_iterable(kept_rows)]).result()
        kept = {
            feature: iter(self.log.read(evidence_of, run_id, feature, number)) for feature, number in places.items()
        }
        return {key: next(kept[key[0]]) for key in requests}

    def _next_round(self, run_id: int, feature: int) -> int:
        return next(n for n in count(1) if not self.log.read(has_evidence, run_id, feature, n))

    def _measured_by(self, request: ProbeRequest) -> ProbeRequest:
        """The request with its feature's own maximum, where it is steered by that."""
        steering = request.settings.steering
        if not steering.on or steering.maximum is not None:
            return request
        steering = steering.model_copy(update={"maximum": self.maxima.get(request.feature)})
        return replace(request, settings=request.settings.model_copy(update={"steering": steering}))

    def _kept(self, plan: ComparisonPlan, features: Sequence[int]) -> dict[Key, Evidence]:
        """The trees that the log had; of lists the settings say all that is measured."""
        trees = {
            (feature, essence_of("tree", setting))
            for setting in plan.settings
            for feature in plan.lacking[setting].intersection(features)
        }
        ids = {key: plan.known[key] for key in trees & plan.known.keys()}
        stored = self.log.read(evidence_by_id, ids.values())
        return {key: stored[id] for key, id in ids.items()}

    def _measure(
        self, plan: ComparisonPlan, comparison_id: int, features: Sequence[int], evidence: Mapping[Key, Evidence]
    ) -> None:
        """Each setting on the features' own texts, and as a control on those of the features that come next."""
        texts = [
            held_out_examples(self.log, self.corpus_id, feature, self.negatives, self.embedder) for feature in features
        ]
        for setting in plan.settings:
            places = [place for place, feature in enumerate(features) if feature in plan.lacking[setting]]
            trees = [_tree(evidence[features[place], essence_of("tree", setting)]) for place in places]
            rows: list[FitRow] = []
            for place, seen in zip(places, feature_readouts(self.tools.subject, trees, setting), strict=True):
                rows += _rows(
                    seen, texts[place], on_texts(self.tools, seen, texts[place]) | by_itself(self.tools, seen)
                )
                for other in _next(texts, place):
                    rows += _rows(seen, other, on_texts(self.tools, seen, other))
            self.log.write(add_fits, comparison_id, setting, rows).result()


def _kind_of(setting: ProbeSettings) -> tuple[VectorSettings, TreeSettings]:
    """Trees of one kind are compared with the same null."""
    return setting.vector.model_copy(update={"weights": null_weights(setting.vector.weights)}), setting.tree


def _tree(evidence: Evidence) -> Tree:
    assert isinstance(evidence, Tree)
    return evidence


def _next(texts: Sequence[HeldOutExamples], place: int) -> list[HeldOutExamples]:
    """Returns the next few features, the first ones following the last."""
    n = min(N_CONTROLS, len(texts) - 1)
    return [texts[(place + step) % len(texts)] for step in range(1, n + 1)]


def _rows(seen: FeatureReadout, texts: HeldOutExamples, measured: Mapping[str, Estimate]) -> list[FitRow]:
    return [
        FitRow(seen.tree.feature, measure, texts.feature, e.value, e.reason, e.low, e.high, e.n)
        for measure, e in measured.items()
    ]
