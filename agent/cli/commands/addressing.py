"""Finds the run that an address such as `121` or `8:121` means."""

from collections.abc import Sequence

from agent.errors import LogError
from agent.groups import group_of, layer_of
from agent.log.evidence import has_evidence
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run
from probes.features import parse_address


def latest_first(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Returns the runs that label, the latest first, and then those that were made to compare or to explore."""
    labelling = [run for run in runs if run.kind in ("label", "probe")]
    return [*reversed(labelling), *reversed([run for run in runs if run not in labelling])]


def _knows(log: RunLog, run: RunSummary, runs: Sequence[RunSummary], feature: int) -> bool:
    """Tells whether a run, or one of its command's other layers, has looked at a feature."""
    return any(
        log.read(has_evidence, one.run_id, feature, 1) or log.read(labels_of, one.run_id, features=[feature])
        for one in group_of(run, runs).runs
    )


def find_feature(log: RunLog, address: str, run_id: int | None) -> tuple[RunSummary, int]:
    """Returns the run and the feature that `address` means: in the run of that number, or in the latest one that has
    looked at the feature.

    With a layer in front it is that layer's run of the same command, or else, if no run is named, the latest of that
    layer. Raises FeatureError for what is no address, LogError where nothing is meant.
    """
    layer, feature = parse_address(address)
    run = log.read(chosen_run, run_id)
    if layer is None and run_id is not None:
        return run, feature
    runs = log.read(all_runs)
    if layer is None and not _knows(log, run, runs, feature):
        run = next((other for other in latest_first(runs) if _knows(log, other, [other], feature)), run)
    group = group_of(run, runs)
    if layer is not None:
        elsewhere = [other for other in latest_first(runs) if run_id is None and layer_of(other) == layer]
        is_here = any(layer_of(other) == layer for other in group.runs)
        return elsewhere[0] if elsewhere and not is_here else group.of_layer(layer), feature
    if not group.is_many:
        return run, feature
    having = [one for one in group.runs if log.read(labels_of, one.run_id, features=[feature])]
    if len(having) != 1:
        of = ", ".join(group.address(one.run_id, feature) for one in having or group.runs)
        raise LogError(f"Of which layer is feature {feature}? {group.words} have {group.layers}; write one of {of}.")
    return having[0], feature
