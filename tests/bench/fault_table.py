"""Measures what becomes of a run when its server misbehaves: every case of `tests.fault_cases`, as a table.

    python -m tests.bench.fault_table

Each case is a whole run with the provider's real SDK against a server on the loopback interface, and the same command
once more when the server is well.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.fault_cases import FEATURES, Case, each
from tests.fault_runs import Visit, Worked, work

HEADS = ("case", "provider", "requests", "rows", "faults", "features", "sentence", "then")


def main() -> None:
    """Works through the cases, prints their table, and ends with status 1 where a feature was lost."""
    table = Table(*HEADS, title="What a server does, and what becomes of the run")
    lost = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (case, provider) in enumerate(each()):
            worked = work(case, provider, Path(folder) / f"{number}.db")
            table.add_row(*_row(case, provider, worked))
            lost += len(FEATURES) - _ends(worked.well)["labelled"]
    console = Console()
    console.print(table)
    console.print(
        f"{table.row_count} cases of {len(FEATURES)} features each; {lost} features were not labelled in the end."
    )
    sys.exit(int(lost > 0))


def _row(case: Case, provider: str, worked: Worked) -> tuple[str, ...]:
    struck = worked.struck
    faults = Counter(call.fault.value for call in struck.calls if call.fault is not None)
    return (
        case.name,
        provider,
        str(len(struck.dealt)),
        str(len(struck.calls)),
        _counted(faults),
        _counted(_ends(struck)),
        _sentence(struck),
        _counted(_ends(worked.well)),
    )


def _ends(visit: Visit) -> Counter[str]:
    return Counter(row.status for row in visit.labels)


def _sentence(visit: Visit) -> str:
    """Tells why the run stopped; else why a feature failed; else what was wrong with an attempt."""
    if visit.report.stopped is not None:
        return str(visit.report.stopped)
    reasons = [row.reason for row in visit.labels if row.status == "failed"]
    errors = [call.error for call in visit.calls if call.error]
    return next(iter([*reasons, *errors]), "")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {name}" for name, n in counts.items())


if __name__ == "__main__":
    main()
