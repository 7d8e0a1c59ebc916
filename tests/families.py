"""Family by family, on tiny random models: how closely the probes keep what they promise of any model.

    python -m tests.families [--device cuda] [FAMILY ...]

Columns: whether a token's row as a ghost is that token, to the bit, weights unchanged; nodes of trees compared, and the
largest relative difference of a probability from the plain reference's; the largest absolute difference of the stream
at hooks before and after every layer, and of the sites within; and of the projection, relative to the logits' spread.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers.utils import logging as transformers_logging

from tests.family_checks import Measured, measure, refusal
from tests.family_table import FAMILIES, RECURRENT, Family

_ROW = "{:<18} {:<7} {:>6} {:>9} {:>9} {:>9} {:>9}  {}"


def _line(name: str, family: Family, found: Measured) -> str:
    lens = "-" if found.lens_difference is None else f"{found.lens_difference:.1e}"
    sites = f"{max(found.site_differences.values()):.1e}"
    apart = f", {found.trees.n_apart} nodes apart" if found.trees.n_apart else ""
    effects = "".join(f"; {choice} there: {nats:.2g} nats" for choice, nats in found.per_layer_effects.items() if nats)
    refused = f"; no {', '.join(sorted(family.refuses))}" if family.refuses else ""
    identical = "equal" if found.ghost_is_token and found.weights_kept else "DIFFERS"
    cells = (found.trees.n_nodes, f"{found.trees.difference:.1e}", f"{found.stream_difference:.1e}", sites, lens)
    return _ROW.format(name, identical, *cells, (family.notes or "-") + apart + effects + refused)


def main(names: Sequence[str], device: str = "cpu", show: Callable[[str], None] = print) -> None:
    """The table of some families, or of all; in float32."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    show(_ROW.format("family", "ghost", "nodes", "engine", "stream", "sites", "lens", "notes"))
    for name in names or [*FAMILIES, *RECURRENT]:
        with tempfile.TemporaryDirectory() as folder:
            if name in FAMILIES:
                show(_line(name, FAMILIES[name], measure(FAMILIES[name], Path(folder), device)))
            else:
                show(f"{name:<18} {refusal(Path(folder), RECURRENT[name])}")


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("families", nargs="*", metavar="FAMILY", choices=[*FAMILIES, *RECURRENT, []])
    asked.add_argument("--device", default="cpu")
    main(asked.parse_args().families, asked.parse_args().device)
