"""Commands that look at single features, and at what is installed: tree, tokens, activations, doctor."""

from pathlib import Path
from typing import Any

import click

from agent.cli.commands.opening import begin
from agent.cli.commands.outputs import check_outputs
from agent.cli.given_options import by_key, refuse
from agent.cli.options import activation_options, doctor_options, token_options, tree_options
from agent.cli.shared_options import JSON, RANK
from agent.cli.types import GroupedCommand, Real
from agent.config import resolve
from probes.errors import SettingsError
from probes.evidence import Rank


@click.command(cls=GroupedCommand)
@click.argument("feature")
@JSON
@click.option("--svg", "svg_file", type=Path, metavar="FILE", help="Write a picture.")
@click.option("--png", "png_file", type=Path, metavar="FILE", help="Write the picture as pixels.")
@click.option("--dot", "as_dot", is_flag=True, help="Print the picture in graphviz's language.")
@click.option(
    "--trim", type=Real(), metavar="P", help="Draw nodes of at least this probability; by default the top-ranked ones."
)
@RANK
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


@click.command(cls=GroupedCommand)
@click.argument("feature")
@JSON
@token_options
def tokens(feature: str, as_json: bool, settings_file: Path | None, **options: Any) -> None:
    """List the tokens that activate one feature, or those nearest to its vector."""
    config = resolve(by_key(options), settings_file)
    begin([config], feature, apart=True)

    from agent.cli.commands.probe import show_tokens

    show_tokens(config, feature, as_json)


@click.command(cls=GroupedCommand)
@click.argument("feature")
@click.argument("text")
@JSON
@activation_options
def activations(feature: str, text: str, as_json: bool, settings_file: Path | None, **options: Any) -> None:
    """Show how active one feature is at each token of TEXT; - reads the text from standard input."""
    config = resolve(by_key(options), settings_file)
    begin([config], feature, apart=True)

    from agent.cli.commands.activations import show_activations

    show_activations(config, feature, text, as_json)


@click.command(cls=GroupedCommand)
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
