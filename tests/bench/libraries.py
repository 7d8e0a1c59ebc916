"""Readers of SAEs against the libraries that define the formats: random SAEs, made, saved and run by each library.

    pip install 'sae-interpret[libraries]'
    python -m tests.bench.libraries

Prints the largest difference for each library and activation rule, over all flags that go with the rule, and ends with
status 1 where the active features are others or a difference is more than rounding. A library that is not installed is
named and left out.
"""

import sys
import tempfile
import warnings
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

from probes.sae_formats import copies, read_sae
from tests.library_saes import CASES, LibraryCase, inputs

ROUNDING = 1e-5
"""Of float32, relative to the largest number compared."""
_PACKAGES = {"sparsify": "eai-sparsify"}


@dataclass(frozen=True)
class Apart:
    """How far the reader is from the library."""

    others: float
    """Share of tokens on which other features are active."""
    features: float
    """Largest difference of an activation, and below of what is decoded, relative to the largest one."""
    written: float


def measured(case: LibraryCase) -> Apart:
    """One case, made and read in a folder of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(copies, "folder", lambda: Path(folder) / "cache"),
        torch.no_grad(),
    ):
        x = inputs()
        right = case.make(Path(folder) / "sae", x)
        sae = read_sae(right.path)
        found = sae.encode(x)
        others = ((found > 0) != (right.features > 0)).any(-1).float().mean()
        return Apart(float(others), _apart(found, right.features), _apart(sae.reconstruct(x), right.written))


def _apart(found: torch.Tensor, right: torch.Tensor) -> float:
    return float((found - right).abs().max() / right.abs().max())


def main() -> None:
    """Measures all cases of the libraries that are here and prints their table."""
    warnings.simplefilter("ignore")
    found: dict[tuple[str, str], list[Apart]] = defaultdict(list)
    absent = sorted({case.library for case in CASES if find_spec(case.library) is None})
    for case in CASES:
        if case.library not in absent:
            found[case.library, case.rule.split(",")[0]].append(measured(case))
    heads = ("library", "rule", "SAEs", "tokens with other features", "activations", "reconstruction")
    table = Table(*heads, title="Largest difference from the library's own numbers, relative to the largest of them")
    for (library, rule), cases in found.items():
        figures = [max(getattr(case, name) for case in cases) for name in ("others", "features", "written")]
        named = f"{library} {version(_PACKAGES.get(library, library))}"
        table.add_row(named, rule, str(len(cases)), f"{figures[0]:.0%}", *(f"{figure:.1e}" for figure in figures[1:]))
    console = Console(width=130)
    console.print(table)
    worst = max((max(case.features, case.written) for cases in found.values() for case in cases), default=0.0)
    others = sum(case.others > 0 for cases in found.values() for case in cases)
    n = sum(map(len, found.values()))
    console.print(
        f"{n} SAEs, {len(inputs())} tokens each: largest difference {worst:.1e}, {others} with other features."
    )
    for library in absent:
        console.print(f"{library} is not installed.")
    sys.exit(int(worst > ROUNDING or others > 0))


if __name__ == "__main__":
    main()
