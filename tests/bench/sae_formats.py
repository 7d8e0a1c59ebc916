"""Every format of SAEs: written by its description, read back, and what it does against a formula written by hand.

    python -m tests.bench.sae_formats

Ends with status 1 where a difference is more than rounding.
"""

import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from probes.sae_formats import copies
from tests.sae_cases import CASES, read_back

ROUNDING = 1e-4
"""Of float32 sums of a dozen terms of size ten."""


def main() -> None:
    """Reads the cases and prints their table."""
    heads = ("format", "architecture", "reads at", "features", "chosen ones", "reconstruction")
    table = Table(*heads, title="Largest difference from the formula in NumPy")
    worst = 0.0
    for case in CASES:
        with (
            tempfile.TemporaryDirectory() as folder,
            patch.object(copies, "folder", lambda f=folder: Path(f) / "cache"),
        ):
            found = read_back(case, Path(folder))
        figures = (found.features, found.chosen, found.reconstruction)
        worst = max(worst, *figures)
        sites = f"{case.hook}" if case.hook_out is None else f"{case.hook} -> {case.hook_out}"
        table.add_row(case.format, case.kind, sites, *(f"{figure:.1e}" for figure in figures))
    console = Console(width=150)
    console.print(table)
    console.print(f"{len(CASES)} SAEs; the largest difference is {worst:.1e}.")
    sys.exit(int(worst > ROUNDING))


if __name__ == "__main__":
    main()
