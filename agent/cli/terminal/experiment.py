"""An experiment in the terminal: a line for each text, with shaded tokens, expectation and result."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.cli.terminal.heat import shaded
from agent.evidence.printable import printable
from probes.evidence import Experiment, TextResult


def experiment_table(experiment: Experiment, coloured: bool) -> Group:
    """Lists the texts in order, under the unit of their activations."""
    of = "in texts" if experiment.is_of_texts else "on single tokens"
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("", "expected", "of maximum", "text", "for"):
        table.add_column(name, overflow="fold")
    for result in experiment.results:
        table.add_row(
            {True: "✓", False: "✗", None: "?"}[experiment.held(result)],
            "activates" if result.asked.activates else "no activation",
            _proportion(experiment, result),
            _text(experiment, result, coloured),
            Text(printable(result.asked.hypothesis)),
        )
    return Group(Text(f"tests; proportions of the maximum {of}, {experiment.maximum:.4g}", style="dim"), table)


def _text(experiment: Experiment, result: TextResult, coloured: bool) -> Text:
    if not result.tokens:
        return Text(printable(result.asked.text))
    return shaded(result.tokens, result.activations, coloured, experiment.maximum)


def _proportion(experiment: Experiment, result: TextResult) -> str:
    found = experiment.proportion(result)
    return "not measured" if found is None else f"{found:.0%}"
