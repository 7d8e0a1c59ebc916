"""The command line: one function per command, errors turned into one sentence and an exit status.

Exit status: 0 done, 1 some features failed, 2 bad usage or input, 130 interrupted. What needs torch is imported inside
the commands that need it, so that `--help` and `log` answer at once.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from agent.config import resolve
from agent.evidence.printable import printable
from agent.options import (
    Commands,
    by_key,
    doctor_options,
    example_options,
    log_options,
    run_options,
    score_options,
    token_options,
    tree_options,
)
from agent.schema import Status
from agent.secrets import blank_output
from probes.errors import InterpretError, SettingsError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FEATURES = click.option(
    "--features", required=True, metavar="SPEC", help="0-500 (inclusive), 7, 1,5,9-12, all, random:50, @FILE."
)
_STATUSES: tuple[Status, ...] = ("labelled", "abstained", "failed")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits; `arguments` are those of the process unless given."""
    blank_output()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a bar or a token gets its escape
            stream.reconfigure(errors="backslashreplace")
    try:
        status = interpret.main(args=arguments, prog_name="interpret", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except InterpretError as error:
        _fail(str(error), 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("Interrupted.", 130)
    sys.exit(status or 0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
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
@run_options
def run(features: str, new: bool, dry_run: bool, settings_file: Path | None, **options: Any) -> int:
    """Label features; the same command resumes a run that was cut off."""
    from agent.session import label_features

    return label_features(resolve(by_key(options), settings_file), features, new, dry_run)


@interpret.command()
@click.argument("feature")
@_JSON
@click.option("--svg", "svg_file", type=Path, metavar="FILE", help="Write a picture.")
@click.option("--dot", "as_dot", is_flag=True, help="Print the picture in graphviz's language.")
@click.option("--trim", type=float, metavar="P", help="Draw what is at least this probable; else the most probable.")
@tree_options
def tree(
    feature: str,
    as_json: bool,
    svg_file: Path | None,
    as_dot: bool,
    trim: float | None,
    settings_file: Path | None,
    **options: Any,
) -> None:
    """Grow one feature's definition tree."""
    from agent.single import TreeOutput, show_tree

    if as_json + as_dot + (svg_file is not None) > 1:
        raise click.UsageError("--json, --svg and --dot each print a tree in their own way; choose one.")
    if trim is not None and not 0 <= trim <= 1:
        raise SettingsError(f"Setting trim={trim!r} is not usable: it is a probability, from 0 to 1.")
    show_tree(resolve(by_key(options), settings_file), feature, TreeOutput(as_json, as_dot, svg_file, trim))


@interpret.command()
@click.argument("feature")
@_JSON
@token_options
def tokens(feature: str, as_json: bool, settings_file: Path | None, **options: Any) -> None:
    """List the tokens nearest to one feature's vector."""
    from agent.single import show_tokens

    show_tokens(resolve(by_key(options), settings_file), feature, as_json)


@interpret.command()
@click.argument("run_id", metavar="[RUN]", type=int, required=False)
@click.option("--search", metavar="TEXT", help="Only labels or explanations with these words.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only labels of this status.")
@_JSON
@log_options
def log(
    run_id: int | None,
    search: str | None,
    status: Status | None,
    as_json: bool,
    settings_file: Path | None,
    **options: Any,
) -> None:
    """List the runs of a log, or the labels of one RUN."""
    from agent.reading import show_labels, show_runs

    config = resolve(by_key(options), settings_file)
    if run_id is not None:
        show_labels(config.log, run_id, search, status, as_json)
    elif search or status:
        raise click.UsageError("--search and --status choose among one run's labels: interpret log RUN --search TEXT.")
    else:
        show_runs(config.log, as_json)


@interpret.command()
@click.argument("feature", type=int)
@click.option("--run", "run_id", type=int, metavar="RUN", help="The run; the latest one unless given.")
@log_options
def show(feature: int, run_id: int | None, settings_file: Path | None, **options: Any) -> None:
    """Show everything the log knows about one feature."""
    from agent.reading import show_feature

    show_feature(resolve(by_key(options), settings_file).log, feature, run_id)


@interpret.command()
@_FEATURES
@click.option(
    "--import",
    "imported",
    metavar="PATH",
    help="Read another tool's files, or neuronpedia:MODEL/SOURCE from its server, instead of a corpus.",
)
@click.option("--format", "form", metavar="NAME", help="Of these files; found out from them unless given.")
@example_options
def examples(features: str, imported: str | None, form: str | None, settings_file: Path | None, **options: Any) -> int:
    """Collect texts on which features fire, to score labels on and to show to explainers."""
    from agent.gathering import gather_examples

    return gather_examples(resolve(by_key(options), settings_file), features, imported, form)


@interpret.command()
@click.argument("run_id", metavar="[RUN]", type=int, required=False)
@click.option("--features", metavar="SPEC", help="Only these; all of the run's unless given.")
@click.option("--examples", "corpus_id", type=int, metavar="N", help="Which of the log's texts; the latest ones.")
@score_options
def score(
    run_id: int | None, features: str | None, corpus_id: int | None, settings_file: Path | None, **options: Any
) -> int:
    """Measure the labels of RUN, or of the latest run, on held-out texts and beside controls."""
    from agent.measuring import score_labels

    return score_labels(resolve(by_key(options), settings_file), run_id, features, corpus_id)


@interpret.command()
@click.argument("run_id", metavar="RUN", type=int)
@log_options
def replay(run_id: int, settings_file: Path | None, **options: Any) -> int:
    """Work a run out again from its logged answers, asking nothing, and compare the labels."""
    from agent.replaying import replay_run

    return replay_run(resolve(by_key(options), settings_file).log, run_id)


@interpret.command()
@doctor_options
def doctor(settings_file: Path | None, **options: Any) -> None:
    """Tell what is installed and found: device, keys, hub, log; and load the subject if one is named."""
    from agent.doctor import examine
    from agent.terminal.display import console, finding

    screen = console()
    for found in examine(resolve(by_key(options), settings_file), _names_subject(options)):
        screen.print(finding(found))


def _names_subject(options: dict[str, Any]) -> bool:
    return any(options[name] is not None for name in ("subject", "model", "sae"))


def _fail(message: str, status: int) -> NoReturn:
    print(f"interpret: {printable(message)}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
