"""`interpret publish`: a run's labels as batches for Neuronpedia, checked, and sent only if that is asked for."""

import os
from dataclasses import replace
from pathlib import Path

import click

from agent.cli.commands.export import ExportRequest, to_export
from agent.cli.commands.read_log import read_log
from agent.export import html, neuronpedia
from agent.export.upload import KEY_VARIABLE, check_batches, upload
from eval.readers.neuronpedia_api import BASE_URL, BASE_URL_VARIABLE


def publish_run(
    log_path: Path, run_id: int | None, folder: Path, wanted: ExportRequest, evidence: str | None, sends: bool
) -> int:
    """Writes batches into the folder unless it holds some, checks them, sends them if `sends`; the exit status.

    `evidence` is the address at which the page of evidence will lie. Raises InterpretError.
    """
    if any(folder.glob("batch-*.json")):
        click.echo(f"{folder} holds batches already; they are checked as they are.")
    else:
        _write(log_path, run_id, folder, wanted, evidence)
    batches = check_batches(folder)
    features, labels = (sum(getattr(one, name) for one in batches) for name in ("n_features", "n_explanations"))
    click.echo(
        f"{len(batches):,} batches of {features:,} features with {labels:,} labels are as Neuronpedia takes them."
    )
    base_url = os.environ.get(BASE_URL_VARIABLE) or BASE_URL
    if not sends:
        click.echo(f"Nothing was uploaded; --upload sends them to {base_url}, with a key in {KEY_VARIABLE}.")
        return 0
    n_sent = upload(batches, base_url, lambda batch: click.echo(f"sent {batch.file.name}"))
    before = len(batches) - n_sent
    click.echo(f"Sent {n_sent:,} batches to {base_url}{f'; {before:,} were sent before' if before else ''}.")
    return 0


def _write(log_path: Path, run_id: int | None, folder: Path, wanted: ExportRequest, evidence: str | None) -> None:
    with read_log(log_path) as log:
        chosen = replace(to_export(log, log_path, run_id, wanted, True), reviewed=wanted.reviewed)
        neuronpedia.make_folder(folder)
        html.write(chosen, folder / neuronpedia.EVIDENCE)  # first: batches link to it
        neuronpedia.write(chosen, folder, evidence or neuronpedia.EVIDENCE)
    page = folder / neuronpedia.EVIDENCE
    where = f"; put {page} at {evidence}" if evidence else " beside the batches; --evidence-url says where it will lie"
    click.echo(f"Wrote {folder}. Scores link to each label's evidence in {neuronpedia.EVIDENCE}{where}.")
