"""Kinds of features and predictions of settings, as tables. Makes no query and loads no subject."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from agent.evidence.printable import printable
from agent.terminal.tables import plain_table
from eval.compare.predicting import Prediction
from eval.compare.taxonomy import CAPTURES, Class
from eval.compare.verdict import estimate_words
from probes.settings import ProbeSettings


def classes_table(classes: Sequence[Class], names: Mapping[ProbeSettings, str]) -> Table:
    """How many features each kind has, which probe captures them, and the setting that works for them."""
    chosen = ("setting (chosen on half)", "ahead by on the other half")
    table = plain_table("kind", "features", "share", *CAPTURES, *chosen)
    for item in classes:
        pair = None if item.choice is None else item.choice.pair
        table.add_row(
            item.kind,
            f"{item.n:,}",
            estimate_words(item.share),
            *(f"{item.captures[name]:,}" for name in CAPTURES),
            Text("" if item.choice is None else printable(names[item.choice.setting])),
            "" if pair is None else f"{estimate_words(pair.versus.difference)} (n = {pair.versus.difference.n})",
        )
    return table


def predictions_table(found: Sequence[Prediction]) -> Table:
    """How well the best value of each setting is told, against the majority; and what following it would bring."""
    table = plain_table("setting", "best on features", "told right", "majority", "ahead by", "gain in fit", "n")
    for item in found:
        counts = ", ".join(f"{name} {n:,}" for name, n in item.n_best.items())
        figures = (item.accuracy, item.majority, item.ahead, item.gain)
        reason = item.accuracy.reason
        cells = (f"untried: {reason}", "", "", "") if reason else tuple(map(estimate_words, figures))
        table.add_row(item.axis, Text(printable(counts)), *cells, f"{item.accuracy.n:,}")
    return table
