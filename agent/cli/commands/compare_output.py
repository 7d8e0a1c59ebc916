"""Prints compared settings: tables and sentences, JSON, a picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from agent.cli.terminal.comparison import layers_table, lines_table, pairs_table, unmeasured
from eval.compare.grid import names_of
from eval.compare.layers import layers
from eval.compare.report import (
    MeasureSummary,
    SettingChoice,
    SettingMeasures,
    SettingPair,
    choice,
    measure_summaries,
    pairs,
)
from eval.compare.verdict import choice_words, verdict
from probes.presets import SubjectCard
from probes.settings import ProbeSettings


@dataclass(frozen=True)
class ComparisonOutput:
    """The forms of output that a comparison is wanted in."""

    as_json: bool
    plot: Path | None


@dataclass(frozen=True)
class ComparisonReport:
    """The comparison of one subject's settings."""

    card: SubjectCard
    names: Mapping[ProbeSettings, str]
    values: Mapping[ProbeSettings, SettingMeasures]
    lines: Sequence[MeasureSummary]
    pairs: Sequence[SettingPair]
    choice: SettingChoice | None

    @property
    def baseline(self) -> ProbeSettings:
        """Returns the first of the settings."""
        return next(iter(self.values))

    @property
    def verdicts(self) -> list[str]:
        """States the figures' verdicts: of two settings by every measure, of more about the chosen one alone."""
        said = [verdict(pair, self.names.__getitem__) for pair in self.pairs] if len(self.values) == 2 else []
        return said + ([] if self.choice is None else [choice_words(self.choice, self.names.__getitem__)])


def compared(card: SubjectCard, values: Mapping[ProbeSettings, SettingMeasures], seed: int) -> ComparisonReport:
    """Compares some settings, the first of which is the baseline."""
    baseline = next(iter(values))
    return ComparisonReport(
        card=card,
        names=names_of([*values]),
        values=values,
        lines=measure_summaries(values, seed),
        pairs=pairs(values, baseline, seed),
        choice=choice(values, baseline, seed),
    )


def show(screen: Console, found: Sequence[ComparisonReport], output: ComparisonOutput, seed: int) -> None:
    """Prints each subject's comparison and draws the first; `screen` is for people, even if JSON is wanted."""
    if output.as_json:
        click.echo(json.dumps([_json(item) for item in found]))
    else:
        for item in found:
            _print(screen, item)
        if len(found) > 1:
            screen.print(layers_table(layers((item.card, item.names, item.pairs) for item in found)))
    if output.plot is not None:
        _draw(screen, output.plot, found[0], seed)


def _draw(screen: Console, path: Path, found: ComparisonReport, seed: int) -> None:
    from eval.compare.pictures import picture
    from eval.plots import save

    save(picture(found.values, found.names, seed), path)
    screen.print(Text(f"Wrote {path}."))


def _print(screen: Console, found: ComparisonReport) -> None:
    screen.print()
    screen.print(lines_table(found.lines, found.names))
    screen.print()
    for sentence in unmeasured(found.lines, found.names):
        screen.print(Text(sentence))
    if found.pairs:
        screen.print()
        screen.print(Text(f"Against {found.names[found.baseline]}", style="bold"))
        screen.print(pairs_table(found.pairs, found.names))
    screen.print()
    for sentence in found.verdicts:
        screen.print(Text(sentence))
    if len(found.pairs) > 1:
        screen.print(
            Text(f"{len(found.pairs)} intervals of 95 % each: about one in twenty misses the true value.", style="dim")
        )


def _json(found: ComparisonReport) -> dict[str, Any]:
    name = found.names.__getitem__
    return {
        "subject": found.card.model_dump(mode="json"),
        "baseline": name(found.baseline),
        "settings": {name(setting): setting.model_dump(mode="json") for setting in found.values},
        "measures": [{**asdict(line), "setting": name(line.setting)} for line in found.lines],
        "pairs": [_pair_json(pair, found.names) for pair in found.pairs],
        "choice": None
        if found.choice is None
        else {
            **asdict(found.choice),
            "setting": name(found.choice.setting),
            "pair": None if found.choice.pair is None else _pair_json(found.choice.pair, found.names),
        },
        "verdicts": found.verdicts,
    }


def _pair_json(pair: SettingPair, names: Mapping[ProbeSettings, str]) -> dict[str, Any]:
    versus = {**asdict(pair.versus), "win_rate": asdict(pair.versus.win_rate)}
    return {"setting": names[pair.setting], "baseline": names[pair.baseline], "measure": pair.measure, **versus}
