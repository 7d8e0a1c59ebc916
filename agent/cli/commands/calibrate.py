"""`interpret calibrate`: the probability that labels are right, from what is known of them before they are scored.

Works on what a log holds; nothing is probed and nothing asked.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from agent.cli.commands.fit_labels import MinScore
from agent.cli.terminal.calibration import (
    candidates_table,
    closing,
    map_words,
    measures_table,
    opening,
    reliability_table,
    remarks,
    risk_table,
)
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig
from agent.errors import LogError
from agent.groups import RunGroup, group_of, groups_of
from agent.log.calibrations import Calibration, add_calibration
from agent.log.run_log import RunLog
from agent.log.runs import RunSummary, all_runs, chosen_run
from eval.calibration.applying import give_probabilities, known_of
from eval.calibration.fitting import check_installed
from eval.calibration.picture import calibration_figure
from eval.calibration.report import CalibrationReport, report
from eval.calibration.truth import Truth, default_truth, judged_labels
from eval.plots import check_picture, save
from probes.errors import SettingsError


@dataclass(frozen=True)
class CalibrationRequest:
    """The options of `interpret calibrate`, except log and seed."""

    runs: Sequence[int]
    """The runs; empty stands for the latest one, with those of its command's other layers."""
    truth: str | None
    least_score: str | None
    plot: Path | None
    as_json: bool


@dataclass(frozen=True)
class _NewCalibration:
    """A calibration that is not stored yet."""

    runs: Sequence[RunSummary]
    truth: Truth
    report: CalibrationReport

    @property
    def explainer(self) -> str:
        return self.runs[0].explainer

    @property
    def fitted_on(self) -> str:
        """Describes the runs in words that hold in another log too, where runs have other numbers."""
        runs = ", ".join(map(_runs_words, groups_of(self.runs)))
        return f"{len(self.report.table):,} labels of {runs}, by {self.truth.words}"

    @property
    def kept(self) -> Calibration:
        return Calibration(
            explainer=self.explainer,
            fitted_on=self.fitted_on,
            fingerprints=sorted({str(run.subject["fingerprint"]) for run in self.runs}),
            map=self.report.fitted.map.model_dump(mode="json"),
            n=len(self.report.table),
            n_right=sum(self.report.table.truth),
            figures=self.report.measures_json(),
        )


def calibrate(config: RunConfig, asked: CalibrationRequest) -> None:
    """Fits a calibration, prints it and stores it, all or nothing. Raises InterpretError."""
    check_installed()
    if asked.plot is not None:
        check_picture(asked.plot)
    if not config.log.exists():
        raise LogError(f"There is no log at {config.log}; run interpret --features ... first, or name one with --log.")
    with RunLog.open(config.log) as log:
        made = _made(log, asked, config.seed)
        if asked.plot is not None:
            save(calibration_figure(made.report, f"{made.explainer}, {made.truth.words}"), asked.plot)
        calibration_id = log.write(add_calibration, made.kept).result()
        runs = [run for run in log.read(all_runs) if run.explainer == made.explainer]
        n_given = give_probabilities(log, runs)
    n_labels = sum(run.n_labelled for run in runs)
    if asked.as_json:
        click.echo(json.dumps(_json(made, calibration_id, n_given, n_labels)))
        return
    screen = console()
    _print(screen, made)
    screen.print(closing(made.explainer, n_given, n_labels, len(runs), len(made.report.table)))
    if asked.plot is not None:
        screen.print(Text(f"Wrote {asked.plot}."))


def _runs_words(group: RunGroup) -> str:
    first = group.runs[0]
    name = f"{first.subject['model']}, {group.layers}" if group.is_many else first.subject["name"]
    return f"{name} (run{'s' * group.is_many} of {first.created[:16].replace('T', ' ')} UTC)"


def _made(log: RunLog, asked: CalibrationRequest, seed: int) -> _NewCalibration:
    named = [log.read(chosen_run, number) for number in dict.fromkeys(asked.runs)]
    runs = named or group_of(log.read(chosen_run, None), log.read(all_runs)).runs
    explainers = sorted({run.made_by for run in runs})
    if len(explainers) > 1:
        raise LogError(
            f"The runs are of {len(explainers)} explainers, {', '.join(explainers)}, and a calibration is of one; name "
            "runs of one explainer."
        )
    truth = _truth(asked, runs)
    found = judged_labels(log, runs, truth)
    return _NewCalibration(runs, truth, report(found, [known_of(log, one.label) for one in found], truth.words, seed))


def _truth(asked: CalibrationRequest, runs: Sequence[RunSummary]) -> Truth:
    if asked.least_score is None:
        return Truth(asked.truth) if asked.truth else default_truth(runs)
    least = MinScore.parse(asked.least_score)
    if asked.truth not in (None, least.scorer):
        raise SettingsError(
            f"--least-score {asked.least_score} and --truth {asked.truth} both define what is right; leave one out."
        )
    return Truth(least.scorer, least.value)


def _print(screen: Console, made: _NewCalibration) -> None:
    found = made.report
    screen.print(facts(opening(made.explainer, made.fitted_on, found)))
    for table in (candidates_table, measures_table, reliability_table, risk_table):
        screen.print()
        screen.print(table(found))
    screen.print()
    screen.print(facts(map_words(found)))
    screen.print()
    for sentence in remarks(found):
        screen.print(sentence)


def _json(made: _NewCalibration, calibration_id: int, n_given: int, n_labels: int) -> dict[str, Any]:
    return {
        "calibration": calibration_id,
        "explainer": made.explainer,
        "runs": [run.run_id for run in made.runs],
        "truth": made.truth.name,
        "least_score": made.truth.least,
        "fitted_on": made.fitted_on,
        **made.report.as_json(),
        "labels": n_labels,
        "labels_with_probability": n_given,
    }
