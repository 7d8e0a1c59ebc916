"""The options of `interpret compare` that span its grid of settings."""

import click

from agent.cli.types import GroupedOption, Names, Numbers, ScaleList, Shares

GRID = (
    click.option(
        "--weights",
        type=Names(),
        default="words,encoder,decoder",
        show_default=True,
        metavar="W[,W2,...]",
        cls=GroupedOption,
        heading="Grid",
        help="Weights or blends, as encoder,decoder,blend:0.5; auto chooses per feature.",
    ),
    click.option(
        "--scale",
        type=ScaleList(),
        metavar="X[,X2,...]",
        cls=GroupedOption,
        heading="Grid",
        help="Distances from the centroid; default is the subject's own, auto chooses per feature.",
    ),
    click.option(
        "--centroid",
        "with_centroid",
        is_flag=True,
        cls=GroupedOption,
        heading="Grid",
        help="Start from the mean embedding row; with --no-centroid too, both.",
    ),
    click.option(
        "--no-centroid",
        "without_centroid",
        is_flag=True,
        cls=GroupedOption,
        heading="Grid",
        help="Start from the origin.",
    ),
    click.option(
        "--pca",
        type=Shares(),
        metavar="W[,W2,...]",
        cls=GroupedOption,
        heading="Grid",
        help="Weights of the leading component; 0.1+0.05 weighs two.",
    ),
    click.option(
        "--adapter",
        "adapters",
        multiple=True,
        metavar="FILE",
        cls=GroupedOption,
        heading="Grid",
        help="A fitted adapter, or none; may be repeated.",
    ),
    click.option(
        "--prompt",
        "prompts",
        multiple=True,
        metavar="TEXT",
        cls=GroupedOption,
        heading="Grid",
        help="A base prompt by name, or a text with one {ghost}; may be repeated.",
    ),
    click.option(
        "--exponent",
        type=Numbers(),
        metavar="M[,M2,...]",
        cls=GroupedOption,
        heading="Grid",
        help="Exponents of the token list.",
    ),
)
