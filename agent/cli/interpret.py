"""The command line: the default command, `run`, and the others from the files that group them.

What needs torch is imported inside the commands that need it, so that `--help` and `log` answer at once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from agent.cli import logs, measuring, probing
from agent.cli.commands.layers import configs_of
from agent.cli.commands.opening import begin, check_escalation
from agent.cli.given_options import batched, refuse
from agent.cli.options import run_options
from agent.cli.process import run_as_process
from agent.cli.shared_options import FEATURES
from agent.cli.types import DEBUG, Commands
from agent.pool.choice import check_workers
from agent.shards import parse_shard


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
@FEATURES
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
    if configs[0].escalate is None:
        refuse(("escalate_below",), "is about --escalate; add that, or leave this out.")
    check_workers(batched(configs[0]))
    check_escalation(configs[0])
    begin(configs, features, writes_log=True, asks_explainer=True)
    if len(configs) > 1:
        from agent.cli.commands.run_layers import label_layers

        return label_layers(configs, features, new, dry_run, share)
    from agent.cli.commands.run import label_features

    return label_features(configs[0], features, new, dry_run, share)


for _command in (
    probing.tree,
    probing.tokens,
    probing.activations,
    probing.doctor,
    logs.log,
    logs.show,
    logs.replay,
    logs.export,
    logs.publish,
    logs.import_,
    logs.serve,
    logs.review,
    measuring.examples,
    measuring.score,
    measuring.compare,
    measuring.taxonomy,
    measuring.fit,
    measuring.calibrate,
    measuring.graph,
):
    interpret.add_command(_command)
