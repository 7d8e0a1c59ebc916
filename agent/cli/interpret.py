"""The command line: one function per command.

What needs torch is imported inside the commands that need it, so that `--help` and `log` answer at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from agent.cli.commands.layers import configs_of
from agent.cli.commands.opening import begin
from agent.cli.commands.outputs import check_outputs
from agent.cli.label_options import STATUSES, label_options
from agent.cli.options import (
    by_key,
    calibrate_options,
    compare_options,
    doctor_options,
    example_options,
    fit_options,
    graph_options,
    log_options,
    refuse,
    refuse_all_but,
    run_options,
    score_options,
    serve_options,
    taxonomy_options,
    token_options,
    tree_options,
)
from agent.cli.process import run_as_process
from agent.cli.types import DEBUG, ROW_ID, Commands, Real, Whole
from agent.config import RunConfig, resolve
from agent.pool.choice import check_workers
from agent.shards import parse_shard
from probes.errors import SettingsError
from probes.evidence import RANKS, Rank

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FEATURES = click.option(
    "--features", required=True, metavar="SPEC", help="0-500 (inclusive), 7, 1,5,9-12, all, random:50, @FILE."
)
_OF_FIT = ("labels", "path", "least_score", "wording", "learn", "steps", "hold_out")
"""What of the options of `interpret fit` is not a setting."""
_OF_RUNS = ("runs", "plot", "as_json", "scorers", "seed")
"""What of the options of `interpret compare` is about `--runs`."""
_OF_LABELS = (
    *("scorers", "texts", "base_url", "concurrency", "budget_usd", "budget_tokens", "answer_tokens", "effort"),
    *("timeout", "cache", "rounds", "evidence", "feedback", "tests"),
)
"""What of them is about labels."""
_RANK = click.option(
    "--rank",
    type=click.Choice(RANKS),
    default="probability",
    show_default=True,
    help="Order a tree's phrases by probability, or by probability times lift: what the ghost adds.",
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits; `arguments` are those of the process unless given."""
    run_as_process(interpret, arguments)


@click.group(cls=Commands, params=[DEBUG], context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sae-interpret", message="%(package)s %(version)s")
def interpret() -> None:
    """Label the features of a sparse autoencoder: probe each one, let an explainer read the evidence, log everything.

    \b
    interpret --features 0-500           label features of the embedded demo
    interpret show 121                   everything the log knows about one of them
    """


@interpret.command()
@_FEATURES
@click.option("--new", is_flag=True, help="Start another run where one could be resumed or is finished.")
@click.option("--dry-run", is_flag=True, help="Say what the run would do and cost, and stop.")
@click.option("--shard", metavar="I/N", help="Every Nth of the features from the Ith (from 0), or slurm.")
@run_options
def run(
    features: str,
    new: bool,
    dry_run: bool,
    shard: str | None,
    layers: str | None,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Label features; the same command resumes a run that was cut off."""
    share = None if shard is None else parse_shard(shard)
    configs = configs_of(options, settings_file, layers)
    check_workers(_batched(configs[0]))
    begin(configs, features, writes_log=True, asks_explainer=True)
    if len(configs) > 1:
        from agent.cli.commands.run_layers import label_layers

        return label_layers(configs, features, new, dry_run, share)
    from agent.cli.commands.run import label_features

    return label_features(configs[0], features, new, dry_run, share)


@interpret.command()
@click.argument("feature")
@_JSON
@click.option("--svg", "svg_file", type=Path, metavar="FILE", help="Write a picture.")
@click.option("--png", "png_file", type=Path, metavar="FILE", help="Write the picture as pixels.")
@click.option("--dot", "as_dot", is_flag=True, help="Print the picture in graphviz's language.")
@click.option(
    "--trim", type=Real(), metavar="P", help="Draw nodes of at least this probability; by default the top-ranked ones."
)
@_RANK
@tree_options
def tree(
    feature: str,
    as_json: bool,
    svg_file: Path | None,
    png_file: Path | None,
    as_dot: bool,
    trim: float | None,
    rank: Rank,
    settings_file: Path | None,
    **options: Any,
) -> None:
    """Grow one feature's definition tree."""
    if as_json + as_dot + (svg_file is not None) + (png_file is not None) > 1:
        raise click.UsageError("--json, --svg, --png and --dot each print a tree in their own way; choose one.")
    if as_json:
        refuse(["trim"], "says what is drawn, and --json prints the whole tree; leave one of them out.")
    if trim is not None and not 0 <= trim <= 1:
        raise SettingsError(f"Setting trim={trim!r} is not usable: it is a probability, from 0 to 1.")
    config = resolve(by_key(options), settings_file)
    check_outputs(config, settings_file, svg_file, png_file)
    begin([config], feature, apart=True)

    from agent.cli.commands.probe import TreeOutput, show_tree

    show_tree(config, feature, TreeOutput(as_json, as_dot, svg_file, png_file, trim, rank))


@interpret.command()
@click.argument("feature")
@_JSON
@token_options
def tokens(feature: str, as_json: bool, settings_file: Path | None, **options: Any) -> None:
    """List the tokens that activate one feature, or those nearest to its vector."""
    config = resolve(by_key(options), settings_file)
    begin([config], feature, apart=True)

    from agent.cli.commands.probe import show_tokens

    show_tokens(config, feature, as_json)


@interpret.command()
@click.argument("feature")
@click.argument("text")
@_JSON
@doctor_options
def activations(feature: str, text: str, as_json: bool, settings_file: Path | None, **options: Any) -> None:
    """Show how active one feature is at each token of TEXT; - reads the text from standard input."""
    config = resolve(by_key(options), settings_file)
    begin([config], feature, apart=True)

    from agent.cli.commands.activations import show_activations

    show_activations(config, feature, text, as_json)


@interpret.command()
@click.argument("run_id", metavar="[RUN]", type=ROW_ID, required=False)
@label_options
@_JSON
@log_options
def log(run_id: int | None, as_json: bool, settings_file: Path | None, log: Path | None, **wanted: Any) -> None:
    """List the runs of a log, or the labels of one RUN."""
    from agent.cli.commands.choosing import LabelCriteria
    from agent.cli.commands.log import show_labels, show_runs

    path = resolve({"log": log}, settings_file).log
    if run_id is not None:
        show_labels(path, run_id, LabelCriteria(**wanted), as_json)
        return
    refuse(wanted, "chooses among one run's labels: interpret log RUN --search TEXT.")
    show_runs(path, as_json)


@interpret.command()
@click.argument("feature")
@click.option("--run", "run_id", type=ROW_ID, metavar="RUN", help="The run; the latest one unless given.")
@_RANK
@log_options
def show(feature: str, run_id: int | None, rank: Rank, settings_file: Path | None, **options: Any) -> None:
    """Show everything the log knows about one feature, as 121, or 8:121 of layer 8."""
    from agent.cli.commands.log import show_feature

    show_feature(resolve(by_key(options), settings_file).log, feature, run_id, rank)


@interpret.command()
@_FEATURES
@click.option(
    "--import",
    "imported",
    metavar="PATH",
    help="Read another tool's files, or neuronpedia:MODEL/SOURCE from its server, instead of a corpus.",
)
@click.option("--format", "form", metavar="NAME", help="Format of these files; by default detected.")
@example_options
def examples(
    features: str,
    imported: str | None,
    form: str | None,
    layers: str | None,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Collect activating examples of features, to score labels on and to show to explainers."""
    if imported is None:
        refuse(["form"], "is about the files of --import PATH; name them, or leave it out.")
    else:
        refuse(["devices", "ray", "gpus_per_worker"], "is about reading a corpus, not about --import; leave it out.")
    configs = configs_of(options, settings_file, layers)
    check_workers(configs[0])
    if imported is not None and len(configs) > 1:
        raise click.UsageError("--import reads files about one SAE; name that by --sae, and others in other commands.")
    if len(configs) > 1:
        refuse(["devices", "ray", "gpus_per_worker"], "reads a corpus for one SAE; name one, or leave it out.")
    begin(configs, features, writes_log=True)

    from agent.cli.commands.examples import gather_examples

    return gather_examples(configs, features, imported, form)


@interpret.command()
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
    check_outputs(_batched(configs[0]), settings_file, plot)
    begin(configs, features, writes_log=True, asks_explainer=True)

    from agent.cli.commands.score_layers import score_run_or_layers

    return score_run_or_layers(configs, run_id, features, corpus_id, plot, dry_run)


@interpret.command()
@click.argument("pair", metavar="[FEATURE FEATURE]", nargs=-1)
@click.option("--features", metavar="SPEC", help="0-500 (inclusive), 7, 1,5,9-12, all, random:50, @FILE.")
@click.option("--runs", metavar="N,M", help="Instead, the scores of two scored runs, feature by feature.")
@click.option("--yes", is_flag=True, help="Make however many trees and lists the grid asks for.")
@click.option("--dry-run", is_flag=True, help="Say what would be probed and asked, and stop.")
@click.option("--plot", type=Path, metavar="FILE", help="Draw the comparison, as .png or .svg.")
@_JSON
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
        status |= compare_labels(config, load(config.subject), features or "", grid, dry_run)
    return status


@interpret.command()
@click.option("--features", metavar="SPEC", help="Only these; those that were compared unless given.")
@taxonomy_options
def taxonomy(features: str | None, settings_file: Path | None, **options: Any) -> int:
    """Sort the features that were compared: which probe captures them, and which settings work for which."""
    from agent.cli.commands.compare_grid import subjects_of

    configs = [resolve(by_key(one), settings_file) for one in subjects_of(options)]
    begin(configs, features, writes_log=True)

    from agent.cli.commands.taxonomy import classify

    return classify(configs, features)


@interpret.command()
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


@interpret.command()
@click.argument("runs", metavar="[RUN...]", type=ROW_ID, nargs=-1)
@click.option(
    "--truth",
    metavar="known|reviews|SCORER",
    help="What decides that a label is right: the demo's known concepts, verdicts, or a score above another label's.",
)
@click.option("--least-score", metavar="SCORER:X", help="Instead, a score of at least X.")
@click.option("--plot", type=Path, metavar="FILE", help="Draw reliability and risk against coverage, .png or .svg.")
@_JSON
@calibrate_options
def calibrate(settings_file: Path | None, **options: Any) -> None:
    """Estimate how likely labels of RUNs, or of the latest run, are to be right; later commands show it beside them."""
    from agent.cli.commands.calibrate import CalibrationRequest
    from agent.cli.commands.calibrate import calibrate as calibrate_labels

    asked = {name: options.pop(name) for name in CalibrationRequest.__dataclass_fields__}
    config = resolve(by_key(options), settings_file)
    check_outputs(config, settings_file, asked["plot"])
    calibrate_labels(config, CalibrationRequest(**asked))


@interpret.command()
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


@interpret.command()
@click.argument("run_id", metavar="RUN", type=ROW_ID)
@log_options
def replay(run_id: int, settings_file: Path | None, **options: Any) -> int:
    """Replay a run from its logged answers, without any calls, and compare the labels."""
    from agent.cli.commands.replay import replay_run

    return replay_run(resolve(by_key(options), settings_file).log, run_id)


@interpret.command()
@click.argument("run_id", metavar="[RUN]", type=ROW_ID, required=False)
@click.option(
    "--to", "path", required=True, type=Path, metavar="FILE", help="The output file; its ending selects the format."
)
@click.option("--format", "form", metavar="NAME", help="csv, jsonl, parquet, html or neuronpedia, whatever the ending.")
@click.option("--status", type=click.Choice(STATUSES), help="Only features of this status.")
@click.option("--features", metavar="SPEC", help="Only these features.")
@click.option("--reviewed", is_flag=True, help="Labels as reviewers accepted or worded them, beside the machine's.")
@click.option("--source", metavar="MODEL/SOURCE", help="Neuronpedia's name of the SAE; known for presets.")
@click.option("--method-name", metavar="NAME", help="How explanations were made, as Neuronpedia calls it.")
@click.option("--model-name", metavar="NAME", help="What wrote them, as Neuronpedia calls it.")
@log_options
def export(
    run_id: int | None, path: Path, form: str | None, settings_file: Path | None, log: Path | None, **wanted: Any
) -> None:
    """Write a run, or the latest one, for other tools: CSV, JSONL, Parquet, HTML or Neuronpedia's batches."""
    from agent.cli.commands.export import ExportRequest, export_run
    from agent.export import form_of

    config = resolve({"log": log}, settings_file)
    check_outputs(config, settings_file, path, folder=form_of(path, form) == "neuronpedia")
    export_run(config.log, run_id, path, form, ExportRequest(**wanted))


@interpret.command()
@click.argument("run_id", metavar="[RUN]", type=ROW_ID, required=False)
@click.option("--to", "folder", required=True, type=Path, metavar="FOLDER", help="Where batches are written and read.")
@click.option("--upload", "sends", is_flag=True, help="Send them, with a key in NEURONPEDIA_API_KEY.")
@click.option("--evidence-url", "evidence", metavar="URL", help="Where evidence.html will lie; labels link there.")
@click.option("--status", type=click.Choice(STATUSES), help="Only features of this status.")
@click.option("--features", metavar="SPEC", help="Only these features.")
@click.option("--reviewed", is_flag=True, help="Labels as reviewers accepted or worded them.")
@click.option("--source", metavar="MODEL/SOURCE", help="Neuronpedia's name of the SAE; may hold {layer}.")
@click.option("--method-name", metavar="NAME", help="How explanations were made, as Neuronpedia calls it.")
@click.option("--model-name", metavar="NAME", help="What wrote them, as Neuronpedia calls it.")
@log_options
def publish(
    run_id: int | None,
    folder: Path,
    sends: bool,
    evidence: str | None,
    settings_file: Path | None,
    log: Path | None,
    **wanted: Any,
) -> int:
    """Write a run, or the latest one, as batches for Neuronpedia, check them, and with --upload send them."""
    from agent.cli.commands.export import ExportRequest
    from agent.cli.commands.publish import publish_run

    config = resolve({"log": log}, settings_file)
    check_outputs(config, settings_file, folder, folder=True)
    return publish_run(config.log, run_id, folder, ExportRequest(**wanted), evidence, sends)


@interpret.command("import")
@click.argument("others", metavar="OTHER.db...", type=Path, nargs=-1, required=True)
@log_options
def import_(others: tuple[Path, ...], settings_file: Path | None, **options: Any) -> None:
    """Bring what other logs hold, of runs on other machines, into this one; nothing here is overwritten."""
    from agent.cli.commands.import_logs import import_logs

    import_logs(resolve(by_key(options), settings_file).log, others)


@interpret.command()
@click.option("--port", type=Whole(0, 65535), default=0, metavar="N", help="Any free one unless given.")
@click.option("--host", default="127.0.0.1", metavar="H", help="Listen there; on this machine only unless given.")
@click.option("--read-only", is_flag=True, help="Write no reviews and keep nothing.")
@click.option("--open/--no-open", "opens", default=True, help="Open a browser, where there is a display.")
@click.option("--reviewer", metavar="NAME", help="Whose reviews these are; the system's user unless given.")
@click.option("--graph", type=Path, metavar="GRAPH.json", help="Show the nodes of this graph, which the log labelled.")
@serve_options
def serve(
    port: int,
    host: str,
    read_only: bool,
    opens: bool,
    reviewer: str | None,
    graph: Path | None,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Open a log in the browser: overview, labels, reviews; with a subject named, its probes too."""
    from agent.cli.commands.serve import ServerOptions, serve

    place = ServerOptions(host, port, read_only, opens, reviewer, graph)
    return serve(resolve(by_key(options), settings_file), place, _names_subject(options))


@interpret.command()
@click.argument("run_id", metavar="[RUN]", type=ROW_ID, required=False)
@click.option("--blind", is_flag=True, help="Hide scores, confidence and others' verdicts.")
@click.option("--again", is_flag=True, help="Labels that you have judged already, too.")
@click.option("--reviewer", metavar="NAME", help="Whose reviews these are; the system's user unless given.")
@label_options
@log_options
def review(
    run_id: int | None,
    blind: bool,
    again: bool,
    reviewer: str | None,
    settings_file: Path | None,
    log: Path | None,
    **wanted: Any,
) -> int:
    """Judge labels one by one in the terminal: accept, edit, reject, flag, note, undo."""
    from agent.cli.commands.choosing import LabelCriteria
    from agent.cli.commands.review import review_labels

    if blind:
        refuse({*wanted} - {"search", "status", "class_name"}, "tells what --blind hides; leave one of them out.")
    path = resolve({"log": log}, settings_file).log
    return review_labels(path, run_id, reviewer, blind, again, LabelCriteria(**wanted))


@interpret.command()
@doctor_options
def doctor(settings_file: Path | None, **options: Any) -> int:
    """Show what is installed and found: device, keys, hub, log; and load the subject if one is named.

    The exit status is 2 where something that was asked for will not work as it stands.
    """
    from agent.cli.commands.doctor import examine
    from agent.cli.terminal.display import console, finding

    screen, status = console(), 0
    for found in examine(resolve(by_key(options), settings_file), _names_subject(options)):
        screen.print(finding(found))
        status = status if found.good else 2
    return status


def _names_subject(options: dict[str, Any]) -> bool:
    return any(options[name] is not None for name in ("subject", "model", "sae"))


def _batched(config: RunConfig) -> RunConfig:
    """`config`, refused where an option is about batches and there are none."""
    if not config.batch:
        refuse(("batch_size", "wait"), "is about --batch; add that, or leave this out.")
    return config


if __name__ == "__main__":
    main()
