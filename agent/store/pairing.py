"""Finds which runs of another log are runs of this one. Reads both; writes nothing.

Two parts of one run have its identity. They are the same run where they were also begun at the same moment (one log is
a copy of the other, gone on with elsewhere), or where nothing that one concluded or began contradicts the other (two
machines took different features). Where they do contradict, as after `--new`, both are worth keeping and stay two runs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from agent.store.reading import done_in, probed_in

Row = Mapping[str, Any]
Wording = tuple[str, str, str]
"""Status, label and explanation."""

FINAL = frozenset({"labelled", "abstained"})
"""Of a feature that no run goes back to."""


def pair_runs(target: Database, source: Database, theirs: Sequence[Row]) -> dict[int, int]:
    """The run of `target` that each of `theirs` is, for those that are one; no two of them are the same.

    `theirs` are rows of `source` with the identity that they would have in `target`.
    """
    ours = [dict(row) for row in target.query("SELECT id, identity, created FROM runs ORDER BY created DESC, id DESC")]
    begun = {(run["identity"], run["created"]): run["id"] for run in ours}
    pairs = {
        run["id"]: begun[run["identity"], run["created"]]
        for run in theirs
        if (run["identity"], run["created"]) in begun
    }
    for run in theirs:
        if run["id"] not in pairs:
            free = (our["id"] for our in ours if our["identity"] == run["identity"] and our["id"] not in pairs.values())
            here = next((here for here in free if not _contradict(target, here, source, run["id"])), None)
            if here is not None:
                pairs[run["id"]] = here
    return pairs


def labels_of(db: Database, run_id: int) -> dict[int, Wording]:
    """Returns a run's labels by feature."""
    found = db.execute("SELECT feature, status, label, explanation FROM labels WHERE run_id = ?", [run_id])
    return {feature: (status, label, explanation) for feature, status, label, explanation in found.fetchall()}


def _contradict(target: Database, here: int, source: Database, there: int) -> bool:
    """Tells whether a feature has two final wordings, or was begun by both and concluded by neither."""
    ours, theirs = labels_of(target, here), labels_of(source, there)
    concluded = done_in(target, here) | done_in(source, there)
    if any(probed_in(target, here) & probed_in(source, there) - concluded):
        return True
    both = ours.keys() & theirs.keys()
    return any({ours[f][0], theirs[f][0]} <= FINAL and ours[f] != theirs[f] for f in both)
