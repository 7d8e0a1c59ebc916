"""Runs of one command over several SAEs of a model: a row of the log for each, known again by what their settings say.

A feature of such a group is addressed as LAYER:INDEX; of a run that is alone, by its index as ever.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from agent.errors import LogError
from agent.log.rows import as_ranges
from agent.log.runs import RunSummary

_PER_LAYER = ("corpus", "maxima_corpus")
"""Settings that are each layer's own."""


@dataclass(frozen=True)
class RunGroup:
    """The runs of one command, the lowest layer first; one run alone is a group too."""

    runs: tuple[RunSummary, ...]

    @property
    def is_many(self) -> bool:
        """Tells whether features need a layer in their addresses."""
        return len(self.runs) > 1

    @cached_property
    def _layers(self) -> dict[int, int]:
        return {run.run_id: layer_of(run) for run in self.runs}

    def address(self, run_id: int, feature: int) -> str:
        """Returns `8:121`, or `121` where there is one run."""
        return f"{self._layers[run_id]}:{feature}" if self.is_many else str(feature)

    def of_run(self, run_id: int) -> RunSummary:
        """Returns one of the runs."""
        return next(run for run in self.runs if run.run_id == run_id)

    def of_layer(self, layer: int) -> RunSummary:
        """Returns the run of that layer. Raises LogError if there is none."""
        found = next((run for run in self.runs if layer_of(run) == layer), None)
        if found is None:
            raise LogError(f"{self.words} of the log: no features of layer {layer}; there are those of {self.layers}.")
        return found

    @property
    def status(self) -> str:
        """Returns `finished`, or `unfinished` while a run is."""
        return "finished" if all(run.status == "finished" for run in self.runs) else "unfinished"

    @property
    def numbers(self) -> str:
        """Returns the runs' numbers, as `1-26`."""
        return as_ranges(run.run_id for run in self.runs)

    @property
    def layers(self) -> str:
        """Returns the layers in words, as `layers 0-25`."""
        return f"layer{'s' * self.is_many} {as_ranges(map(layer_of, self.runs))}"

    @property
    def words(self) -> str:
        """Returns the runs' numbers in words, as `Runs 1-26`."""
        return f"Run{'s' * self.is_many} {self.numbers}"


def layer_of(run: RunSummary) -> int:
    """Returns the layer at which a run's SAE reads."""
    return int(run.subject["layer"])


def group_of(run: RunSummary, runs: Iterable[RunSummary]) -> RunGroup:
    """Returns the run with the others of its command, of each layer the latest of `runs`, which are oldest first.

    A run that a later one of its layer has replaced is alone.
    """
    key = _key(run)
    if key is None:
        return RunGroup((run,))
    latest = {layer_of(other): other for other in runs if _key(other) == key}
    is_member = latest[layer_of(run)].run_id == run.run_id
    return RunGroup(tuple(latest[layer] for layer in sorted(latest)) if is_member else (run,))


def groups_of(runs: Iterable[RunSummary]) -> list[RunGroup]:
    """Returns all groups, in the order of their first runs."""
    everything, found, seen = [*runs], list[RunGroup](), set[int]()
    for run in everything:
        if run.run_id not in seen:
            found.append(group_of(run, everything))
            seen.update(one.run_id for one in found[-1].runs)
    return found


def _key(run: RunSummary) -> str | None:
    """Returns what the runs of one command have in common; None for a run that is alone."""
    if name := run.settings.get("group"):
        return str(name)
    graph = run.settings.get("graph")
    if not isinstance(graph, dict):
        return None
    common = {name: value for name, value in run.settings.items() if name not in ("graph", *_PER_LAYER)}
    return json.dumps([graph.get("digest"), run.subject.get("model"), run.explainer, common], sort_keys=True)
