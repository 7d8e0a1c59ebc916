"""`interpret compare 121 5077`: two features side by side, as the log has them."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from agent.cli.terminal.display import console, facts
from agent.cli.terminal.tables import plain_table
from agent.errors import LogError
from agent.evidence.basis import basis_of
from agent.evidence.printable import printable
from agent.evidence.wording import folded, percent, phrase_words
from agent.log.evidence import evidence_rounds, has_evidence
from agent.log.labels import LabelRow, labels_of
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs
from probes.evidence import Evidence, TokenList

_TOKEN_CHARS = 24


def compare_features(path: Path, features: Sequence[int]) -> int:
    """Prints both features; returns the exit status. Raises LogError if no run has evidence on both."""
    screen = console()
    with RunLog.open(path, read_only=True) as log:
        run = _latest_with(log, path, features)
        labels = {row.feature: row for row in log.read(labels_of, run.run_id, features=features)}
        evidence = {feature: _evidence(log, run, feature) for feature in features}
    screen.print(facts([("run", f"{run.run_id}, {run.subject['name']}, {run.subject['hook']}")]))
    screen.print()
    screen.print(_side_by_side(run, features, labels, evidence))
    shared = set.intersection(*(set(_tokens(evidence[feature])) for feature in features))
    both = [token for token in _tokens(evidence[features[0]]) if token in shared]
    screen.print()
    screen.print(Text(f"In the first token lists of both: {', '.join(both) or 'none'}."))
    return 0


def _latest_with(log: RunLog, path: Path, features: Sequence[int]) -> RunSummary:
    """Returns the latest run that has evidence on each of them."""
    for run in reversed(log.read(all_runs)):
        if all(log.read(has_evidence, run.run_id, feature, 1) for feature in features):
            return run
    both = " and ".join(map(str, features))
    raise LogError(
        f"No run of {path} has looked at both {both}; label them with interpret --features {features[0]},{features[1]}."
    )


def _evidence(log: RunLog, run: RunSummary, feature: int) -> list[Evidence]:
    return [item for evidence in log.read(evidence_rounds, run.run_id, feature).values() for item in evidence]


def _side_by_side(
    run: RunSummary,
    features: Sequence[int],
    labels: dict[int, LabelRow],
    evidence: dict[int, list[Evidence]],
) -> Table:
    columns = [_told(run, labels.get(feature), evidence[feature]) for feature in features]
    table = plain_table("feature", *map(str, features))
    for name in columns[0]:
        if any(column[name] for column in columns):
            table.add_row(name, *(Text(printable(column[name])) for column in columns))
    return table


def _told(run: RunSummary, row: LabelRow | None, evidence: Sequence[Evidence]) -> dict[str, str]:
    basis = basis_of(row.evidence if row else (), evidence, float(run.subject["default_scale"]))
    return {
        "status": row.status if row else "no label yet",
        "label": row.label if row else "",
        "explanation": row.explanation if row else "",
        "reason": row.reason if row else "",
        "confidence": f"{row.confidence:.2f}" if row and row.confidence is not None else "",
        "definition": basis.definition,
        "its probability": "" if basis.probability is None else percent(basis.probability),
        "tokens": ", ".join(_tokens(evidence)),
    }


def _tokens(evidence: Sequence[Evidence]) -> list[str]:
    """Returns the words of the first token list, each once, in whatever spelling."""
    lists = [item for item in evidence if isinstance(item, TokenList)]
    words = [phrase_words(token.token, _TOKEN_CHARS) for item in lists[:1] for token in folded(item.tokens)]
    return [*dict.fromkeys(words)]
