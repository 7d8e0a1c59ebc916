"""A calibration as tables and sentences."""

from collections.abc import Iterator

import numpy as np
from rich.table import Table
from rich.text import Text

from agent.cli.terminal.tables import plain_table
from agent.evidence.printable import printable
from eval.calibration.columns import COLUMNS
from eval.calibration.figures import BINS, at_coverages
from eval.calibration.maps import Isotonic
from eval.calibration.picture import NAMES
from eval.calibration.report import FEW, CalibrationReport
from eval.metrics import Estimate


def opening(explainer: str, fitted_on: str, found: CalibrationReport) -> Iterator[tuple[str, str]]:
    """Yields the facts about the labels that the calibration was fitted on."""
    table = found.table
    yield "explainer", explainer
    yield "fitted on", fitted_on
    yield "right", f"{_words(found.right)} of {len(table):,} labels, in {len({*table.groups}):,} groups"
    yield "columns", ", ".join(table.names) + (f"; not known: {', '.join(found.dropped)}" if found.dropped else "")
    if found.n_left_out:
        yield "left out", f"{found.n_left_out:,} labels that lack one of these columns"


def candidates_table(found: CalibrationReport) -> Table:
    """Lists the maps that were tried, by cross-validated log loss.

    The simplest within one standard error of the best is taken.
    """
    fitted = found.fitted
    table = plain_table("map", "log loss, out of fold", "n", "chosen (simplest within one standard error)")
    for name, losses in fitted.losses.items():
        folds = f"in {fitted.chosen_in.count(name)} of {len(fitted.chosen_in)} folds"
        table.add_row(
            name, f"{np.mean(losses):.3f}", f"{len(losses):,}", f"of all; {folds}" if name == fitted.chosen else folds
        )
    return table


def measures_table(found: CalibrationReport) -> Table:
    """Compares the stated confidence with the calibrated probability, on labels that were not fitted to."""
    table = plain_table("measure", *NAMES.values(), "after minus before", "n")
    for one in found.measures:
        row = map(_words, (one.before, one.after, one.change))
        table.add_row(one.name, *row, f"{one.after.n:,}")
    return table


def reliability_table(found: CalibrationReport) -> Table:
    """Compares stated probabilities with outcomes, bin by bin."""
    table = plain_table("stated", *(f"{name}: right" for name in NAMES.values()))
    by_low = {when: {one.low: one for one in some} for when, some in found.bins.items()}
    for place in range(BINS):
        cells = [some.get(place / BINS) for some in by_low.values()]
        if any(cells):
            bounds = f"{place / BINS:.1f} to {(place + 1) / BINS:.1f}"
            table.add_row(bounds, *(f"{_words(one.right)}, n {one.right.n:,}" if one else "" for one in cells))
    return table


def risk_table(found: CalibrationReport) -> Table:
    """Lists risk against coverage."""
    table = plain_table("labels kept", *(f"{name}: wrong" for name in NAMES.values()))
    rows = zip(*(at_coverages(some) for some in found.risks.values()), strict=True)
    for row in rows:
        cells = (f"{_words(one.risk)} of {one.coverage:.0%}, from {one.threshold:.2f}" for _, one in row)
        table.add_row(f"{row[0][0]:.0%} or more", *cells)
    return table


def remarks(found: CalibrationReport) -> Iterator[Text]:
    """Yields remarks on the figures: what they show, and what they do not."""
    error, fitted = found.measures[0], found.fitted
    yield Text(
        f"On this many labels, perfect probabilities would show an expected calibration error of {found.by_chance:.2f} "
        "by chance."
    )
    if error.change.high is not None and error.change.high >= 0:
        yield Text("There is no evidence that the map is calibrated better than the stated confidence.")
    rarer = min(sum(found.table.truth), len(found.table) - sum(found.table.truth))
    if rarer < FEW:
        yield Text(f"Only {rarer} of the labels are of the rarer kind: a map can hardly learn to separate them.")
    if not fitted.map.columns:
        yield Text("No column separated right labels from wrong ones, so all labels get the same probability.")


def map_words(found: CalibrationReport) -> Iterator[tuple[str, str]]:
    """Describes the map itself."""
    fitted = found.fitted.map
    yield "map", found.fitted.chosen
    if isinstance(fitted, Isotonic):
        knots = (f"{x:.2f}: {y:.2f}" for x, y in zip(fitted.xs, fitted.ys, strict=True))
        yield fitted.column, ", ".join(knots)
        return
    yield "intercept", f"{fitted.intercept:+.2f}"
    for term in fitted.terms:
        yield term.column, f"{term.weight:+.2f} per {term.scale:.3g} ({COLUMNS[term.column].words})"


def closing(explainer: str, n_given: int, n_labels: int, n_runs: int, n_fitted: int) -> Text:
    """Returns the closing sentence: what changes from now on."""
    lacking = "" if n_given == n_labels else f"; {n_labels - n_given:,} lack something that it needs"
    runs = "1 run" if n_runs == 1 else f"{n_runs:,} runs"
    return Text(
        printable(
            f"From now on labels of {explainer} come with the probability that they are right: {n_given:,} of the "
            f"{n_labels:,} labels in {runs} of this log{lacking}. It was fitted on {n_fitted:,} labels; of others, "
            "as far as they are unlike those, it is a guess."
        )
    )


def _words(found: Estimate) -> str:
    if found.value is None:
        return ""
    interval = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{interval}"
