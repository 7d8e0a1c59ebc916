"""The table of probes, and the one way to run any mix of them."""

from collections.abc import Callable, Sequence

from probes import projection, tokens, tree
from probes.batching import in_groups
from probes.evidence import Evidence, ProbeRequest
from probes.features import check_feature
from probes.settings import ProbeKind
from probes.subject import Subject

Probe = Callable[[Subject, Sequence[ProbeRequest]], list[Evidence]]
"""Evidence for requests of its kind, in their order; what shares settings is computed together."""

PROBES: dict[ProbeKind, Probe] = {
    "tree": tree.probe,
    "tokens": tokens.probe,
    "projection": projection.probe,
}


def run_probes(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """The evidence for `requests`, in their order, whatever their kinds, features and settings.

    Raises FeatureError for a feature that the SAE does not have, before any work is done.
    """
    for request in requests:
        check_feature(request.feature, subject.card.n_features)
    return in_groups(requests, lambda request: request.kind, lambda kind, alike: PROBES[kind](subject, alike))
