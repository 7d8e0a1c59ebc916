"""One feature's evidence straight from the subject, without a run: `interpret tree` and `interpret tokens`."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from agent.config import RunConfig
from agent.evidence.branches import Trim
from agent.evidence.wording import vector_words
from agent.terminal.display import console, facts, token_list
from agent.terminal.drawing import tree_dot, tree_svg
from agent.terminal.outline import tree_outline
from probes.errors import FeatureError, SettingsError
from probes.evidence import Evidence, ProbeRequest, TokenList, Tree, tokens_json, tree_json
from probes.features import parse_features
from probes.probe import run_probes
from probes.settings import ProbeKind
from probes.subject import load_subject

_TERMINAL_NODES = 60
_PICTURE_NODES = 400
_JSON_NESTING = 10_000
"""Frames the JSON encoder may need: a tree is at most 1,000 tokens deep, two levels each."""


@dataclass(frozen=True)
class TreeOutput:
    """In which form a tree is wanted; none of the three means drawn in the terminal."""

    as_json: bool
    as_dot: bool
    svg_file: Path | None
    least: float | None
    """Draw the nodes of at least this probability, instead of the most probable ones."""


def show_tree(config: RunConfig, feature: str, output: TreeOutput) -> None:
    """Prints or writes the definition tree of one feature. Raises InterpretError."""
    if output.svg_file is not None:
        _writable(output.svg_file)
    tree = _probed(config, feature, "tree")
    assert isinstance(tree, Tree)
    picture = Trim(_PICTURE_NODES) if output.least is None else Trim(least=output.least)
    if output.as_json:
        print_json(tree_json(tree))
    elif output.as_dot:
        click.echo(tree_dot(tree, picture), nl=False)
    elif output.svg_file is not None:
        _write(output.svg_file, tree_svg(tree, picture))
    else:
        console().print(tree_outline(tree, Trim(_TERMINAL_NODES) if output.least is None else picture))


def show_tokens(config: RunConfig, feature: str, as_json: bool) -> None:
    """Prints the token list of one feature. Raises InterpretError."""
    found = _probed(config, feature, "tokens")
    assert isinstance(found, TokenList)
    if as_json:
        print_json(tokens_json(found))
        return
    screen = console()
    exponent = f", exponent {found.settings.tokens.exponent:g}"
    screen.print(facts([(f"feature {found.feature}", vector_words(found.settings.vector) + exponent)]))
    screen.print(token_list(found))


def _probed(config: RunConfig, feature: str, kind: ProbeKind) -> Evidence:
    subject = load_subject(config.subject)
    features = parse_features(feature, subject.card.n_features)
    if len(features) != 1:
        raise FeatureError(f"Feature {feature!r} is not one feature; give a single index.")
    return run_probes(subject, [ProbeRequest(kind, features[0], config.probe)])[0]


def print_json(data: Any) -> None:
    """Prints `data` on one line, however deeply it is nested."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _JSON_NESTING))
    try:
        click.echo(json.dumps(data))
    finally:
        sys.setrecursionlimit(limit)


def _writable(path: Path) -> None:
    if not path.parent.is_dir():
        raise SettingsError(f"The picture cannot be written to {path}: there is no folder {path.parent}.")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"The picture cannot be written to {path}: {error.strerror}.") from None
    click.echo(f"Wrote {path}.")
