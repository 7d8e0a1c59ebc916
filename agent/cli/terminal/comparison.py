"""Tables of compared settings: their means, their differences, the features that could not be measured."""

from collections.abc import Iterator, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from agent.cli.terminal.tables import plain_table
from agent.evidence.printable import printable
from eval.compare.layers import LayerComparison
from eval.compare.measures import REPORTED
from eval.compare.report import MeasureSummary, PairedComparison, SettingPair
from eval.compare.verdict import estimate_words, figure, interval, percent
from eval.metrics import Estimate
from probes.settings import ProbeSettings

Names = Mapping[ProbeSettings, str]


def lines_table(lines: Sequence[MeasureSummary], names: Names) -> Table:
    """Lists means over features beside the control's."""
    table = plain_table("measure", "setting", "mean", "95 % interval", "features", "on others' examples")
    for line in lines:
        if line.mean.n:
            table.add_row(
                line.measure,
                _text(names[line.setting]),
                _figure(line.mean),
                interval(line.mean),
                f"{line.mean.n:,}",
                "" if line.control is None else estimate_words(line.control),
            )
    return table


def pairs_table(pairs: Sequence[SettingPair], names: Names) -> Table:
    """Lists the settings' differences from the baseline."""
    table = plain_table("measure", "setting", "ahead by", "95 % interval", "better", "equal", "worse", "features")
    for pair in pairs:
        table.add_row(pair.measure, _text(names[pair.setting]), *_versus(pair.versus))
    return table


def layers_table(layers: Sequence[LayerComparison]) -> Table:
    """Lists the same two settings on several subjects, the earliest layer first."""
    table = plain_table(
        "layer", "subject", "measure", "setting", "ahead by", "95 % interval", "better", "equal", "worse", "n"
    )
    for layer in layers:
        where = f"{layer.subject.name}, {layer.subject.hook}"
        cells = (str(layer.subject.layer), _text(where), layer.measure, _text(layer.setting))
        table.add_row(*cells, *_versus(layer.versus))
    return table


def unmeasured(lines: Sequence[MeasureSummary], names: Names) -> Iterator[str]:
    """Yields how many features have no value, and why; once if that is the same under every setting."""
    for measure in REPORTED:
        mine = [line for line in lines if line.measure == measure and line.unmeasured]
        said = {tuple(line.unmeasured) for line in mine}
        everywhere = len(said) == 1 and len(mine) == len(names)
        for line in mine[:1] if everywhere else mine:
            where = "" if everywhere else f" under {names[line.setting]}"
            n = sum(count for _, count in line.unmeasured)
            reasons = "; ".join(f"{count:,} {reason}" for reason, count in line.unmeasured[:3])
            yield f"{measure}: {n:,} of {n + line.mean.n:,} features unmeasured{where}: {reasons}"


def _versus(versus: PairedComparison) -> tuple[str, ...]:
    n = max(versus.difference.n, 1)
    shares = (percent(count, n) for count in (versus.wins, versus.ties, versus.losses))
    return _figure(versus.difference), interval(versus.difference), *shares, f"{versus.difference.n:,}"


def _figure(estimate: Estimate) -> str:
    return "" if estimate.value is None else figure(estimate.value)


def _text(words: str) -> Text:
    return Text(printable(words))
