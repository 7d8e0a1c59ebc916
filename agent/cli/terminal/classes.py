"""Kinds of features and predictions of settings, as tables."""

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from agent.cli.terminal.tables import plain_table
from agent.evidence.printable import printable
from eval.compare.predicting import Prediction
from eval.compare.taxonomy import CAPTURES, FeatureClass
from eval.compare.verdict import estimate_words
from eval.metrics import Estimate
from probes.settings import ProbeSettings


def classes_table(classes: Sequence[FeatureClass], names: Mapping[ProbeSettings, str]) -> Table:
    """Lists the kinds of features: how many, which probe captures them, and the setting that works for them."""
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
    """Lists how well the best value of each setting is predicted, against the majority, and what following it would
    bring.
    """
    table = plain_table("setting", "best on features", "predicted right", "majority", "ahead by", "gain in fit", "n")
    for item in found:
        counts = ", ".join(f"{name} {n:,}" for name, n in item.n_best.items())
        figures = (item.accuracy, item.majority, item.ahead, item.gain)
        reason = item.accuracy.reason
        cells = (f"untried: {reason}", "", "", "") if reason else tuple(map(estimate_words, figures))
        table.add_row(item.axis, Text(printable(counts)), *cells, f"{item.accuracy.n:,}")
    return table


def prediction_words(found: Prediction) -> str:
    """Says whether the best value of a setting can be predicted, as far as the figures show."""
    ahead, gain = found.ahead, found.gain
    if ahead.value is None:
        return f"{found.axis}: whether it can be predicted was not tested, since {ahead.reason}."
    size = f"right on {_percent_of(found.accuracy)} of {ahead.n:,} features, the most frequent value on "
    size += f"{_percent_of(found.majority)}"
    if ahead.low is None or ahead.low <= 0:
        return f"{found.axis} could not be predicted: a model of these columns is {size}."
    worth = (
        "using it does not reliably improve the fit"
        if gain.low is None or gain.low <= 0
        else "using it improves the fit"
    )
    return f"{found.axis} can be predicted: a model of these columns is {size}; {worth}: {estimate_words(gain)}."


def _percent_of(e: Estimate) -> str:
    """Formats a proportion in per cent."""
    return "unknown" if e.value is None else f"{e.value:.0%}"
