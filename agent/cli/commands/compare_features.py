"""`interpret compare 121 5077`: two features side by side, as the log has them."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from agent.cli.commands.addressing import find_feature, latest_first
from agent.cli.terminal.display import console, facts
from agent.cli.terminal.tables import plain_table
from agent.errors import LogError
from agent.evidence.printable import printable
from agent.log.evidence import evidence_rounds, has_evidence
from agent.log.labels import labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs
from agent.web.side_by_side import SideText, shared_tokens, side_text
from probes.features import parse_address


def compare_features(path: Path, addresses: Sequence[str]) -> int:
    """Prints both features; returns the exit status. Raises LogError if no run has evidence on them, FeatureError."""
    screen = console()
    with RunLog.open(path, read_only=True) as log:
        found = _found(log, path, addresses)
        sides = [_side(log, run, feature) for run, feature in found]
    runs = {run.run_id: run for run, _ in found}.values()
    screen.print(facts(("run", f"{run.run_id}, {run.subject['name']}, {run.subject['hook']}") for run in runs))
    screen.print()
    table = plain_table("feature", *addresses)
    for (name, one), (_, other) in zip(sides[0].lines(), sides[1].lines(), strict=True):
        if one or other:
            table.add_row(name, Text(printable(one)), Text(printable(other)))
    screen.print(table)
    screen.print()
    screen.print(Text(f"In the first token lists of both: {', '.join(shared_tokens(*sides)) or 'none'}."))
    return 0


def _found(log: RunLog, path: Path, addresses: Sequence[str]) -> list[tuple[RunSummary, int]]:
    """Returns each feature with its run: the latest that has evidence on both, or of the layers that are named."""
    parsed = [parse_address(address) for address in addresses]
    if all(layer is None for layer, _ in parsed):
        features = [feature for _, feature in parsed]
        run = _latest_with(log, path, features)
        return [(run, feature) for feature in features]
    found = [find_feature(log, address, None) for address in addresses]
    for (run, feature), address in zip(found, addresses, strict=True):
        if not log.read(has_evidence, run.run_id, feature, 1):
            raise LogError(f"Run {run.run_id} of {path} has not looked at {address}; it was asked for {run.features}.")
    return found


def _latest_with(log: RunLog, path: Path, features: Sequence[int]) -> RunSummary:
    """Returns the latest run that has evidence on each of them, one that labels before others."""
    for run in latest_first(log.read(all_runs)):
        if all(log.read(has_evidence, run.run_id, feature, 1) for feature in features):
            return run
    both = " and ".join(map(str, features))
    raise LogError(
        f"No run of {path} has looked at both {both}; label them with interpret --features {features[0]},{features[1]}."
    )


def _side(log: RunLog, run: RunSummary, feature: int) -> SideText:
    row = next(iter(log.read(labels_of, run.run_id, features=[feature])), None)
    evidence = [item for some in log.read(evidence_rounds, run.run_id, feature).values() for item in some]
    return side_text(run, row, evidence)
