"""Scores the runs of several SAEs of one model, and compares the layers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.text import Text

from agent.cli.commands.exit_status import ends_all
from agent.cli.commands.layers import by_layer
from agent.cli.commands.loading import SubjectLoader
from agent.cli.commands.score import Among, score_labels
from agent.cli.commands.score_report import (
    ScoredRun,
    baselines_of,
    plot_scores,
    print_lacks,
    print_sources,
    run_scores,
)
from agent.cli.terminal.display import console, scores_table
from agent.config import RunConfig
from agent.errors import LogError
from agent.groups import RunGroup, group_of, layer_of
from agent.log.run_log import RunLog
from agent.log.runs import all_runs, chosen_run
from eval.plots import check_picture
from eval.scoring import report
from probes.errors import SettingsError
from probes.features import parse_addresses


def score_run_or_layers(
    configs: Sequence[RunConfig],
    run_id: int | None,
    spec: str | None,
    corpus_id: int | None,
    plot: Path | None,
    dry: bool,
) -> int:
    """Scores a run, or those of a command that labelled several layers, as far as their SAEs are given.

    Prints, and returns the exit status. Raises InterpretError.
    """
    group = _group(configs[0].log, run_id)
    if not group.is_many and len(configs) == 1:
        return score_labels(configs[0], run_id, spec, corpus_id, plot, dry).status
    if len(configs) > 1 and corpus_id is not None:
        raise SettingsError(
            "Each SAE has examples of its own; --examples names those of one, so name one --sae with it."
        )
    saes = by_layer(configs)
    if len(configs) == 1:
        [layer] = saes
        return score_labels(configs[0], group.of_layer(layer).run_id, spec, corpus_id, plot, dry).status
    return _score_layers(configs[0], group, {layer: one.config for layer, one in saes.items()}, spec, plot, dry)


def _group(path: Path, run_id: int | None) -> RunGroup:
    if not path.exists():
        raise LogError(f"{path} holds no run yet; interpret --features 0-20 makes one.")
    with RunLog.open(path, read_only=True) as log:
        return group_of(log.read(chosen_run, run_id), log.read(all_runs))


def _score_layers(
    config: RunConfig, group: RunGroup, configs: dict[int, RunConfig], spec: str | None, plot: Path | None, dry: bool
) -> int:
    if plot is not None:
        check_picture(plot)
    screen, load, scored = console(), SubjectLoader(), list[ScoredRun]()
    runs = {layer_of(run): run for run in group.runs}
    if left := sorted(runs.keys() - configs.keys()):
        screen.print(Text(f"Layers without an SAE here are left out: {', '.join(map(str, left))}."))
    sizes = {layer: int(run.subject["n_features"]) for layer, run in runs.items() if layer in configs}
    if not sizes:
        raise LogError(f"{group.words} of {config.log} are of layers {', '.join(map(str, runs))}; name their SAEs.")
    chosen = None if spec is None else parse_addresses(spec, sizes, config.seed)
    for layer in sorted(sizes if chosen is None else chosen):
        among = Among(None if chosen is None else chosen[layer], [(one.run_id, one.scoring_id) for one in scored])
        subject = load(configs[layer].subject)
        scored.append(
            score_labels(configs[layer], runs[layer].run_id, None, None, None, dry, subject=subject, among=among)
        )
        if ends_all(scored[-1].stopped):
            break
    if not dry:
        _print(config, group, scored, plot)
    return max(one.status for one in scored)


def _print(config: RunConfig, group: RunGroup, scored: Sequence[ScoredRun], plot: Path | None) -> None:
    """Prints the scores layer by layer, then those of all features together."""
    screen = console()
    layers = {run.run_id: layer_of(run) for run in group.runs}
    with RunLog.open(config.log, read_only=True) as log:
        by_run = {one.run_id: run_scores(log, [one]) for one in scored}
        sources = {one.run_id: baselines_of(log, one) for one in scored}
    # features of different layers have the same numbers, their labels do not
    everything = [replace(score, feature=score.label_id) for scores in by_run.values() for score in scores]
    lines = [(str(layers[run_id]), report.score_summaries(scores, config.seed)) for run_id, scores in by_run.items()]
    lines.append(("all", report.score_summaries(everything, config.seed)))
    screen.print()
    screen.print(
        scores_table([line for _, some in lines for line in some], [name for name, some in lines for _ in some])
    )
    screen.print()
    print_lacks(screen, everything, scored[0].scorers, sum(len(one.rows) for one in scored))
    for run_id, found in sources.items():
        print_sources(screen, found, by_run[run_id], config.seed)
    if plot is not None:
        plot_scores(screen, everything, group.words, config.seed, plot)
