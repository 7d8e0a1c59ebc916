"""Answers probe requests with evidence that other runs of the log have of the same subject, and probes the rest.

So a run labels from what `--llm none`, another explainer or a comparison has probed. What is taken is what probing
would have given, under the request's own settings; the caller keeps it as its run's own, as it keeps what was probed.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from agent.log.evidence import evidence_by_id, evidence_keys, evidence_of
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, runs_of
from agent.planning import Planner
from agent.prober import EvidenceSource
from probes.essence import essence_of
from probes.evidence import Evidence, ProbeRequest, Tree
from probes.settings import AUTO, ProbeKind, ProbeSettings

_KINDS: frozenset[ProbeKind] = frozenset({"tree", "tokens", "projection"})
"""Those that hang on their settings alone; an experiment hangs on its texts, a sweep on what was left to be found."""


@dataclass
class KnownEvidence:
    """An evidence source in front of a prober: it answers one feature's requests from the log where it can."""

    log: RunLog
    prober: EvidenceSource
    planner: Planner
    others: Collection[int]
    """Other runs of the same subject; evidence is taken from any of them, piece by piece."""
    alike: Sequence[int]
    """Runs among `others` whose first rounds ask for the same, with the same settings still to be found."""
    n_taken: int = field(default=0, init=False)
    """Pieces that were not probed."""

    @classmethod
    def of(
        cls, log: RunLog, prober: EvidenceSource, planner: Planner, run_id: int, identity: RunIdentity
    ) -> "KnownEvidence":
        """Makes the source for the run of that number and identity. Raises LogError."""
        others = {
            number: settings for number, settings in log.read(runs_of, identity.subject).items() if number != run_id
        }
        mine = {name: identity.settings.get(name) for name in _decisive(planner)}
        alike = [n for n, settings in others.items() if {name: settings.get(name) for name in mine} == mine]
        return cls(log, prober, planner, others.keys(), alike)

    async def probe(self, requests: Sequence[ProbeRequest]) -> list[Evidence]:
        """Returns the evidence for `requests`, in their order. Raises any error of probing."""
        known = await asyncio.to_thread(self._known, requests) if self.others else {}
        self.n_taken += len(known)
        left = [place for place in range(len(requests)) if place not in known]
        probed = await self.prober.probe([requests[place] for place in left]) if left else []
        found = known | dict(zip(left, probed, strict=True))
        return [found[place] for place in range(len(requests))]

    def _known(self, requests: Sequence[ProbeRequest]) -> dict[int, Evidence]:
        """Returns the evidence that the log has, by the place of the request."""
        feature = requests[0].feature
        if self.alike and tuple(requests) == self.planner.first(feature).requests:
            for run_id in self.alike:
                round_1 = self.log.read(evidence_of, run_id, feature, 1)
                if len(round_1) == len(requests):
                    return dict(enumerate(round_1))
        return dict(self._pieces(feature, requests))

    def _pieces(self, feature: int, requests: Sequence[ProbeRequest]) -> Iterator[tuple[int, Evidence]]:
        stored = self.log.read(evidence_keys, [*self.others], [feature])
        ids = {essence_of(key.kind, key.settings): key.evidence_id for key in stored if key.kind in _KINDS}
        wanted = {
            place: ids[essence]
            for place, request in enumerate(requests)
            if request.kind in _KINDS and not _is_open(request.settings)
            if (essence := essence_of(request.kind, request.settings)) in ids
        }
        pieces = self.log.read(evidence_by_id, wanted.values())
        for place, id in wanted.items():
            if not _was_chosen(pieces[id]):
                yield place, replace(pieces[id], settings=requests[place].settings)


def _decisive(planner: Planner) -> Sequence[str]:
    """Returns the settings of a run that decide its first rounds' requests; of texts only where features are steered by
    them."""
    steering = planner.probe.steering
    by_texts = steering.on and steering.maximum is None
    return ("probe", "weights_plan", "agreement", *(("maxima_corpus",) if by_texts else ()))


def _is_open(settings: ProbeSettings) -> bool:
    """Tests if a setting is still to be found, so that stored evidence has other settings than the request."""
    return settings.vector.is_auto or settings.tree.prompt == AUTO


def _was_chosen(piece: Evidence) -> bool:
    """Tests if the vector was the best of several: its p-value is then about the choice, not about the vector."""
    return isinstance(piece, Tree) and piece.contrast is not None and piece.contrast.n_candidates > 1
