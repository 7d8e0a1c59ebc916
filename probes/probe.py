"""The table of probes, and the one way to run any mix of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from probes import continuations, experiment, neighbours, projection, tokens, tree
from probes.batching import in_groups
from probes.evidence import Evidence, ProbeRequest
from probes.features import check_feature
from probes.ghost.base_prompt import named
from probes.settings import ProbeKind
from probes.subject import Subject
from probes.sweep import SweepCase, as_selected, needs_sweep, settled, sweeps_for

Probe = Callable[[Subject, Sequence[ProbeRequest]], list[Evidence]]
"""Evidence for requests of its kind, in their order; what shares settings is computed together."""

PROBES: dict[ProbeKind, Probe] = {
    "tree": tree.probe,
    "tokens": tokens.probe,
    "projection": projection.probe,
    "experiment": experiment.probe,
    "neighbours": neighbours.probe,
    "continuations": continuations.probe,
}
"""A sweep is none of them: it grows trees of its own, and other requests wait for what it finds."""


def run_probes(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """The evidence for `requests`, in their order, whatever their kinds, features and settings.

    What is auto in their settings is found first, once for all requests that leave the same to be found; a base prompt
    only where a tree is grown. Raises FeatureError for a feature that the SAE does not have, before any work is done.
    """
    for request in requests:
        check_feature(request.feature, subject.card.n_features)
    requests = [
        replace(request, settings=named(subject, request.settings)) if _grows(request) else request
        for request in requests
    ]
    sweeps = sweeps_for(subject, (SweepCase.of(request) for request in requests if needs_sweep(request)))

    def answer(kind: ProbeKind, alike: Sequence[ProbeRequest]) -> Sequence[Evidence]:
        if kind == "sweep":
            return [sweeps[SweepCase.of(request)] for request in alike]
        found = PROBES[kind](subject, [settled(request, sweeps) for request in alike])
        return [as_selected(evidence, request, sweeps) for evidence, request in zip(found, alike, strict=True)]

    found = in_groups(requests, lambda request: request.kind, answer)
    return [replace(piece, device=subject.card.device) for piece in found]


def _grows(request: ProbeRequest) -> bool:
    """Tells whether a tree is grown to answer the request."""
    defines = request.kind == "tokens" and request.settings.tokens.define > 0
    return request.kind == "tree" or defines or needs_sweep(request)
