"""The features nearest to one in the other layers of its run's command, as far as their SAEs are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.groups import RunGroup, layer_of
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, done_in
from agent.web.feature.nearest import MAX_NEAREST
from agent.web.group import group_at
from agent.web.site import Site

if TYPE_CHECKING:  # types alone: the server imports torch with a subject only
    from probes.nearest import NearElsewhere
    from probes.subject import Subject


@dataclass(frozen=True)
class NearInLayer:
    """A near feature of another layer; `row` is None if it has no label there."""

    address: str
    url: str
    cosine: float
    row: LabelRow | None


def other_layers(site: Site, run: RunSummary) -> "dict[int, tuple[Subject, Sequence[int]]]":
    """Returns the loaded subjects of the other layers of the run's command, with the features that their runs have."""
    others = (other for other in group_at(site, run).runs if other.run_id != run.run_id)
    return {
        layer_of(other): (subject, site.cache(_features, other.run_id))
        for other in others
        if (subject := site.subjects.get(str(other.subject["fingerprint"]))) is not None
    }


def nearest_elsewhere(
    subject: "Subject", feature: int, others: "Mapping[int, tuple[Subject, Sequence[int]]]"
) -> "list[NearElsewhere]":
    """Returns the nearest features of `others`, the nearest first; computed where this is called."""
    from probes import nearest

    saes = {layer: (other.sae, features) for layer, (other, features) in others.items()}
    return nearest.nearest_elsewhere(subject.sae, feature, saes, MAX_NEAREST)


def labelled_in_layers(log: RunLog, group: RunGroup, near: "Sequence[NearElsewhere]") -> list[NearInLayer]:
    """Returns these features with their labels."""
    return [_labelled(log, group, one) for one in near]


def _labelled(log: RunLog, group: RunGroup, near: "NearElsewhere") -> NearInLayer:
    run_id = group.of_layer(near.layer).run_id
    row = next(iter(log.read(labels_of, run_id, features=[near.feature])), None)
    url = f"/runs/{run_id}/features/{near.feature}"
    return NearInLayer(group.address(run_id, near.feature), url, near.cosine, row)


def _features(log: RunLog, run_id: int) -> list[int]:
    return sorted(log.read(done_in, run_id))
