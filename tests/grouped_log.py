"""A log of one command over the SAEs of several layers, made without a model."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.log.evidence import add_evidence, evidence_rows
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity
from probes.behaviour import Continuation, Continuations, Neighbour, Neighbours
from probes.settings import ProbeSettings
from tests.full_logs import fill
from tests.logged import card, identity

BESIDE = 4
"""The feature whose evidence names others."""


def of_layer(layer: int, group: str | None = "a-group") -> RunIdentity:
    """The run of that layer's SAE."""
    subject = card(
        name=f"tiny/{layer}", layer=layer, hook=f"blocks.{layer}.hook_resid_post", fingerprint=f"{layer:064d}"
    )
    return identity(subject=subject, settings={"rounds": 3, **({"group": group} if group else {})})


def grouped_log(path: Path, features: Mapping[int, Iterable[int]], group: str | None = "a-group") -> None:
    """Labels of those features, by layer: run 1 is of the first layer; the second round is of `BESIDE` alone."""
    for layer, some in features.items():
        run_id = fill(path, some, who=of_layer(layer, group))
        with RunLog.open(path) as log:
            for feature in some:
                if feature == BESIDE:
                    log.write(add_evidence, evidence_rows(run_id, feature, 2, _beside(feature))).result()


def _beside(feature: int) -> list[Neighbours | Continuations]:
    settings = ProbeSettings()
    line = Continuation("I think", " of dogs", " of cats")
    return [
        Neighbours(feature, settings, (Neighbour(7, 0.5, (), (), ()),)),
        Continuations(feature, settings, 2.0, False, 77, (line,)),
    ]
