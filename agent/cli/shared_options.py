"""Options that several commands share besides settings."""

import click

from probes.evidence import RANKS

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
FEATURES = click.option(
    "--features", required=True, metavar="SPEC", help="0-500 (inclusive), 7, 1,5,9-12, all, random:50, @FILE."
)
RANK = click.option(
    "--rank",
    type=click.Choice(RANKS),
    default="probability",
    show_default=True,
    help="Order a tree's phrases by probability, or by probability times lift: what the ghost adds.",
)
