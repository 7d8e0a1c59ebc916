"""An experiment in the terminal: a line for each text, its active tokens shaded, what was expected and what came."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.evidence.printable import printable
from probes.evidence import Experiment, TextResult

_SHADES = (0.1, 0.4, 0.7)
"""Proportions of the maximum from which on a token is underlined, bold, and both in colour."""
_STYLES = ("underline", "bold underline", "bold underline magenta")


def experiment_table(experiment: Experiment) -> Group:
    """The texts in their order, under what their activations are measured by."""
    of = "in texts" if experiment.is_of_texts else "on single tokens"
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("", "expected", "of maximum", "text", "for"):
        table.add_column(name, overflow="fold")
    for result in experiment.results:
        table.add_row(
            {True: "✓", False: "✗", None: "?"}[experiment.held(result)],
            "activates" if result.asked.activates else "nothing",
            _proportion(experiment, result),
            shaded(experiment, result),
            Text(printable(result.asked.hypothesis)),
        )
    return Group(Text(f"tests; proportions of the maximum {of}, {experiment.maximum:.4g}", style="dim"), table)


def shaded(experiment: Experiment, result: TextResult) -> Text:
    """The text with its tokens shaded by activation."""
    found = Text()
    for token, value in zip(result.tokens, result.activations, strict=True):
        proportion = value / experiment.maximum if experiment.maximum > 0 else 0.0
        level = sum(proportion > bar for bar in _SHADES)
        found.append(printable(token), _STYLES[level - 1] if level else None)
    return found if result.tokens else Text(printable(result.asked.text))


def _proportion(experiment: Experiment, result: TextResult) -> str:
    found = experiment.proportion(result)
    return "not measured" if found is None else f"{found:.0%}"
