"""The options of `interpret compare` that span its grid of settings."""

from collections.abc import Callable
from typing import Any

import click

from agent.cli.types import GroupedOption, Names, Numbers, ScaleList, Shares


def _option(*names: str, **kwargs: Any) -> Callable[[Any], Any]:
    return click.option(*names, cls=GroupedOption, heading="Grid", **kwargs)


GRID = (
    _option(
        "--weights",
        type=Names(),
        default="words,encoder,decoder",
        show_default=True,
        metavar="W[,W2,...]",
        help="Weights or blends, as encoder,decoder,blend:0.5; auto chooses per feature.",
    ),
    _option(
        "--scale",
        type=ScaleList(),
        metavar="X[,X2,...]",
        help="Distances from the centroid; default is the subject's own, auto chooses per feature.",
    ),
    _option(
        "--centroid",
        "with_centroid",
        is_flag=True,
        help="Start from the mean embedding row; with --no-centroid too, both.",
    ),
    _option(
        "--no-centroid",
        "without_centroid",
        is_flag=True,
        help="Start from the origin.",
    ),
    _option(
        "--pca",
        type=Shares(),
        metavar="W[,W2,...]",
        help="Weights of the leading component; 0.1+0.05 weighs two.",
    ),
    _option(
        "--adapter",
        "adapters",
        multiple=True,
        metavar="FILE",
        help="A fitted adapter, or none; may be repeated.",
    ),
    _option(
        "--prompt",
        "prompts",
        multiple=True,
        metavar="TEXT",
        help="A base prompt by name, or a text with one {ghost}; may be repeated.",
    ),
    _option(
        "--exponent",
        type=Numbers(),
        metavar="M[,M2,...]",
        help="Exponents of the token list.",
    ),
)
