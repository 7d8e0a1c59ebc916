"""The layers of one command beside one another: how much is labelled, how surely, and how that scores.

Runs know their layer; what is read here is the log alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.groups import RunGroup, layer_of
from agent.log.evidence import list_p_values
from agent.log.labels import median_confidence
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary
from agent.log.scores import ScoreKind, score_kinds, spreads_of
from eval.metrics import Estimate, proportion
from eval.scoring.report import mean_of
from probes.evidence import verdict_of

_LISTS = 100
"""Features of a layer, evenly spaced, whose lists are looked at: each has to be unpacked."""


@dataclass(frozen=True)
class LayerRow:
    """The labels of one layer in a few figures."""

    run_id: int
    layer: int
    labelled: Estimate
    """Share of the features that are done."""
    confidence: float | None
    """Median over the labels; None where none has one."""
    differing: Estimate
    """Share of features with a list of tokens that differs from random directions'."""
    score: Estimate | None
    """Mean over features; None where the table's scorer has none."""


@dataclass(frozen=True)
class LayerTable:
    """A row for each layer, the lowest first."""

    scorer: str | None
    """Whose scores the rows have; None where nothing was scored."""
    rows: Sequence[LayerRow]


def layer_table(log: RunLog, group: RunGroup) -> LayerTable:
    """Compares the layers of a command; scores are of the first scorer that any of them has, by its latest scoring."""
    kinds = {run.run_id: log.read(score_kinds, run.run_id) for run in group.runs}
    scorer = next((kind.key.scorer for found in kinds.values() for kind in found), None)
    ours = {run_id: [kind for kind in found if kind.key.scorer == scorer] for run_id, found in kinds.items()}
    rows = [_row(log, run, ours[run.run_id]) for run in group.runs]
    return LayerTable(scorer if any(row.score for row in rows) else None, rows)


def _row(log: RunLog, run: RunSummary, kinds: Sequence[ScoreKind]) -> LayerRow:
    n_done = run.n_labelled + run.n_abstained + run.n_failed
    found = log.read(list_p_values, run.run_id, n_done, _LISTS)
    return LayerRow(
        run_id=run.run_id,
        layer=layer_of(run),
        labelled=proportion(run.n_labelled, n_done),
        confidence=log.read(median_confidence, run.run_id),
        differing=proportion(sum(verdict_of(p) == "differs" for p in found), len(found)),
        score=_score(log, kinds[0]) if kinds else None,
    )


def _score(log: RunLog, kind: ScoreKind) -> Estimate | None:
    values = [
        value for one in log.read(spreads_of, kind.key).variants if one.variant == "label" for value in one.values
    ]
    return mean_of(kind.metric, values, kind.seed) if values else None
