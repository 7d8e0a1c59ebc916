"""Commands that collect examples and measure: examples, score, compare, taxonomy, fit, calibrate, graph."""

from pathlib import Path
from typing import Any

import click

from agent.cli.commands.layers import configs_of
from agent.cli.commands.opening import begin
from agent.cli.commands.outputs import check_outputs
from agent.cli.given_options import batched, by_key, refuse, refuse_all_but
from agent.cli.options import (
    calibrate_options,
    compare_options,
    example_options,
    fit_options,
    graph_options,
    score_options,
    taxonomy_options,
)
from agent.cli.shared_options import FEATURES, JSON
from agent.cli.types import ROW_ID, GroupedCommand, Real, Whole
from agent.config import resolve
from agent.pool.choice import check_workers
from agent.shards import parse_shard
from probes.errors import SettingsError

_OF_FIT = ("labels", "path", "least_score", "wording", "learn", "steps", "hold_out")
"""What of the options of `interpret fit` is not a setting."""
_OF_RUNS = ("runs", "plot", "as_json", "scorers", "seed")
"""What of the options of `interpret compare` is about `--runs`."""
_OF_LABELS = (
    *("scorers", "texts", "base_url", "concurrency", "budget_usd", "budget_tokens", "answer_tokens", "effort"),
    *("timeout", "cache", "rounds", "evidence", "feedback", "tests", "candidates"),
)
"""What of them is about labels."""


@click.command(cls=GroupedCommand)
@FEATURES
@click.option(
    "--import",
    "imported",
    metavar="PATH",
    help="Read another tool's files, or neuronpedia:MODEL/SOURCE from its server, instead of a corpus.",
)
@click.option("--format", "form", metavar="NAME", help="Format of these files; by default detected.")
@click.option("--shard", metavar="I/N", help="Every Nth batch of the corpus from the Ith (from 0), or slurm.")
@example_options
def examples(
    features: str,
    imported: str | None,
    form: str | None,
    shard: str | None,
    layers: str | None,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Collect activating examples of features, to score labels on and to show to explainers."""
    if imported is None:
        refuse(["form"], "is about the files of --import PATH; name them, or leave it out.")
    else:
        of_corpus = ["devices", "ray", "gpus_per_worker", "shard"]
        refuse(of_corpus, "is about reading a corpus, not about --import; leave it out.")
    share = None if shard is None else parse_shard(shard)
    configs = configs_of(options, settings_file, layers)
    check_workers(configs[0])
    if imported is not None and len(configs) > 1:
        raise click.UsageError("--import reads files about one SAE; name that by --sae, and others in other commands.")
    if len(configs) > 1:
        refuse(["devices", "ray", "gpus_per_worker"], "reads a corpus for one SAE; name one, or leave it out.")
    begin(configs, features, writes_log=True)

    from agent.cli.commands.examples import gather_examples

    return gather_examples(configs, features, imported, form, share)


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="[RUN]", type=ROW_ID, required=False)
@click.option("--features", metavar="SPEC", help="Only these; all of the run's unless given.")
@click.option(
    "--examples", "corpus_id", type=ROW_ID, metavar="N", help="Which collected examples; the run's own or the latest."
)
@click.option("--plot", type=Path, metavar="FILE", help="Write the scores as a picture, .png or .svg.")
@click.option("--dry-run", is_flag=True, help="Say what scoring would ask and cost, and stop.")
@score_options
def score(
    run_id: int | None,
    features: str | None,
    corpus_id: int | None,
    plot: Path | None,
    dry_run: bool,
    layers: str | None,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Measure the labels of RUN, or of the latest run, on held-out examples and beside controls."""
    configs = configs_of(options, settings_file, layers)
    check_outputs(batched(configs[0]), settings_file, plot)
    begin(configs, features, writes_log=True, asks_explainer=True)

    from agent.cli.commands.score_layers import score_run_or_layers

    return score_run_or_layers(configs, run_id, features, corpus_id, plot, dry_run)


@click.command(cls=GroupedCommand)
@click.argument("pair", metavar="[FEATURE FEATURE]", nargs=-1)
@click.option("--features", metavar="SPEC", help="0-500 (inclusive), 7, 1,5,9-12, all, random:50, @FILE.")
@click.option("--runs", metavar="N,M", help="Instead, the scores of two scored runs, feature by feature.")
@click.option("--yes", is_flag=True, help="Make however many trees and lists the grid asks for.")
@click.option("--dry-run", is_flag=True, help="Say what would be probed and asked, and stop.")
@click.option("--plot", type=Path, metavar="FILE", help="Draw the comparison, as .png or .svg.")
@JSON
@compare_options
def compare(
    pair: tuple[str, ...],
    features: str | None,
    runs: str | None,
    yes: bool,
    dry_run: bool,
    plot: Path | None,
    as_json: bool,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Compare settings: which make tree and token list fit a feature's examples better, and labels score better?"""
    from agent.cli.commands.compare_grid import grid_of, subjects_of

    if pair:
        from agent.cli.commands.compare_features import compare_features

        if len(set(pair)) != 2 or len(pair) != 2:
            raise click.UsageError("Two features are shown side by side: interpret compare 121 5077.")
        refuse_all_but(("pair",), "is about settings or runs, and two features are shown as the log has them.")
        return compare_features(resolve({"log": options["log"]}, settings_file).log, pair)
    if (features is None) == (runs is None):
        raise click.UsageError("Give either --features, to compare settings, or --runs, to compare two scored runs.")
    with_labels = options["llm"] is not None
    refuse(["least_gain"], "stops rounds by the log's history, which the first setting would make for the others.")
    if options["llm"] == "none":
        raise SettingsError("With --llm none there are no labels to compare; name an explainer, or leave it out.")
    grid, options = grid_of(options)
    configs = [resolve(by_key(one), settings_file) for one in subjects_of(options)]
    for config in configs:
        check_outputs(config, settings_file, plot)
    if runs is not None:
        refuse_all_but(
            _OF_RUNS, "is about settings to probe, and --runs compares what is scored already; leave it out."
        )
        from agent.cli.commands.compare_output import ComparisonOutput
        from agent.cli.commands.compare_runs import compare_runs

        return compare_runs(configs[0], runs, ComparisonOutput(as_json, plot))
    if with_labels:
        refuse(["as_json"], "prints what needs no labels; interpret compare --runs N,M --json prints the rest.")
    else:
        refuse(
            _OF_LABELS,
            "is about labels of each setting; add --llm PROVIDER, or leave it out.",
        )
    if plot is not None and len(configs) > 1:
        raise click.UsageError("--plot draws one subject; name one, what was compared already is in the log.")
    begin(configs, features, writes_log=True, asks_explainer=with_labels, apart=as_json)

    from agent.cli.commands.compare import ComparisonRequest, compare_settings
    from agent.cli.commands.compare_labels import compare_labels
    from agent.cli.commands.compare_output import ComparisonOutput
    from agent.cli.commands.loading import SubjectLoader

    load = SubjectLoader()
    status = compare_settings(
        configs, ComparisonRequest(features or "", grid, yes, dry_run), ComparisonOutput(as_json, plot), load
    )
    for config in configs if with_labels else ():
        status |= compare_labels(config, load(config.subject), features or "", grid, dry_run, len(configs))
    return status


@click.command(cls=GroupedCommand)
@click.option("--features", metavar="SPEC", help="Only these; those that were compared unless given.")
@taxonomy_options
def taxonomy(features: str | None, settings_file: Path | None, **options: Any) -> int:
    """Sort the features that were compared: which probe captures them, and which settings work for which."""
    from agent.cli.commands.compare_grid import subjects_of

    configs = [resolve(by_key(one), settings_file) for one in subjects_of(options)]
    begin(configs, features, writes_log=True)

    from agent.cli.commands.taxonomy import classify

    return classify(configs, features)


@click.command(cls=GroupedCommand)
@click.option(
    "--labels",
    required=True,
    metavar="RUN|FILE|demo-known",
    help="A run of the log, JSONL of {feature, label}, or the demo's known concepts.",
)
@click.option("--to", "path", required=True, type=Path, metavar="FILE", help="Where to keep the adapter: .safetensors.")
@click.option(
    "--least-score", metavar="SCORER:X", help="From a run, use unreviewed labels too if they score at least X."
)
@click.option(
    "--wording", metavar="TEXT", help="The text that the model should write; whatever precedes {label} is given."
)
@click.option("--learn", type=click.Choice(("both", "scale", "bias")), default="both", help="Which numbers are fitted.")
@click.option("--steps", type=Whole(1), default=300, show_default=True, metavar="N", help="Most steps.")
@click.option(
    "--hold-out",
    type=Real(),
    default=0.2,
    show_default=True,
    metavar="SHARE",
    help="Proportion of the labels held out for evaluation.",
)
@fit_options
def fit(settings_file: Path | None, **options: Any) -> None:
    """Fit an adapter to labels: the scale and bias that make features' vectors easiest to read; use it by --adapter."""
    asked = {name: options.pop(name) for name in _OF_FIT}
    config = resolve(by_key(options), settings_file)
    check_outputs(config, settings_file, asked["path"])
    begin([config])

    from agent.cli.commands.fit import FitRequest, fit_adapter

    fit_adapter(config, FitRequest(**asked))


@click.command(cls=GroupedCommand)
@click.argument("runs", metavar="[RUN...]", type=ROW_ID, nargs=-1)
@click.option(
    "--truth",
    metavar="known|reviews|SCORER",
    help="What decides that a label is right: the demo's known concepts, verdicts, or a score above another label's.",
)
@click.option("--least-score", metavar="SCORER:X", help="Instead, a score of at least X.")
@click.option("--plot", type=Path, metavar="FILE", help="Draw reliability and risk against coverage, .png or .svg.")
@JSON
@calibrate_options
def calibrate(settings_file: Path | None, **options: Any) -> None:
    """Estimate how likely labels of RUNs, or of the latest run, are to be right; later commands show it beside them."""
    from agent.cli.commands.calibrate import CalibrationRequest
    from agent.cli.commands.calibrate import calibrate as calibrate_labels

    asked = {name: options.pop(name) for name in CalibrationRequest.__dataclass_fields__}
    config = resolve(by_key(options), settings_file)
    check_outputs(config, settings_file, asked["plot"])
    calibrate_labels(config, CalibrationRequest(**asked))


@click.command(cls=GroupedCommand)
@click.argument("path", metavar="GRAPH.json", type=Path)
@click.option("--to", "target", type=Path, metavar="OUT.json", help="Write the graph there with its labels.")
@click.option("--top", type=Whole(1), metavar="N", help="Only the N most influential features.")
@click.option(
    "--overwrite", is_flag=True, help="Also label features that the file labels already, and replace those labels."
)
@click.option("--supernodes", is_flag=True, help="Write supernodes too: nodes that are labelled and linked alike.")
@click.option("--new", is_flag=True, help="Start other runs where some could be resumed or are finished.")
@click.option("--dry-run", is_flag=True, help="Say what would be labelled and what it would cost, and stop.")
@graph_options
def graph(
    path: Path,
    target: Path | None,
    top: int | None,
    overwrite: bool,
    supernodes: bool,
    new: bool,
    dry_run: bool,
    layers: str | None,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Label the features of an attribution graph, as circuit-tracer and Neuronpedia write them."""
    if supernodes and target is None:
        raise click.UsageError("--supernodes are written into the graph; say where by --to OUT.json.")

    from agent.cli.commands.graph import GraphRequest, label_graph

    asked = GraphRequest(path, target, top, overwrite, supernodes, new, dry_run)
    return label_graph(options, settings_file, layers, asked)
