"""Commands about what a log holds: log, show, replay, export, publish, import, serve, review."""

from pathlib import Path
from typing import Any

import click

from agent.cli.commands.layers import configs_of
from agent.cli.commands.outputs import check_outputs
from agent.cli.given_options import by_key, refuse
from agent.cli.label_options import STATUSES, label_options
from agent.cli.options import log_options, serve_options
from agent.cli.shared_options import JSON, RANK
from agent.cli.types import ROW_ID, GroupedCommand, Whole
from agent.config import resolve
from probes.evidence import Rank


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="[RUN]", type=ROW_ID, required=False)
@label_options
@JSON
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


@click.command(cls=GroupedCommand)
@click.argument("feature")
@click.option("--run", "run_id", type=ROW_ID, metavar="RUN", help="The run; the latest one unless given.")
@RANK
@log_options
def show(feature: str, run_id: int | None, rank: Rank, settings_file: Path | None, **options: Any) -> None:
    """Show everything the log knows about one feature, as 121, or 8:121 of layer 8."""
    from agent.cli.commands.log import show_feature

    show_feature(resolve(by_key(options), settings_file).log, feature, run_id, rank)


@click.command(cls=GroupedCommand)
@click.argument("run_id", metavar="RUN", type=ROW_ID)
@log_options
def replay(run_id: int, settings_file: Path | None, **options: Any) -> int:
    """Replay a run from its logged answers, without any calls, and compare the labels."""
    from agent.cli.commands.replay import replay_run

    return replay_run(resolve(by_key(options), settings_file).log, run_id)


@click.command(cls=GroupedCommand)
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


@click.command(cls=GroupedCommand)
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


@click.command("import", cls=GroupedCommand)
@click.argument("others", metavar="OTHER.db...", type=Path, nargs=-1, required=True)
@log_options
def import_(others: tuple[Path, ...], settings_file: Path | None, **options: Any) -> None:
    """Bring what other logs hold, of runs on other machines, into this one; nothing here is overwritten."""
    from agent.cli.commands.import_logs import import_logs

    import_logs(resolve(by_key(options), settings_file).log, others)


@click.command(cls=GroupedCommand)
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
    layers: str | None,
    settings_file: Path | None,
    **options: Any,
) -> int:
    """Open a log in the browser: overview, labels, reviews; with a subject named, its probes too."""
    from agent.cli.commands.serve import ServerOptions, serve

    place = ServerOptions(host, port, read_only, opens, reviewer, graph)
    if layers is None and not _names_subject(options):
        return serve([resolve({"log": options["log"]}, settings_file)], place, False)
    return serve(configs_of(options, settings_file, layers), place, True)


@click.command(cls=GroupedCommand)
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


def _names_subject(options: dict[str, Any]) -> bool:
    return any(options[name] for name in ("subject", "model", "sae"))
