"""`interpret tree` and `interpret tokens`: one feature's evidence straight from the subject, without a run."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from agent.cli.commands.base_prompt import find_prompts
from agent.cli.commands.token_pass import read_tokens
from agent.cli.terminal.display import console, facts, token_list
from agent.cli.terminal.outline import tree_outline
from agent.cli.terminal.sweep import sweep_table
from agent.config import RunConfig
from agent.drawing.svg import tree_dot, tree_svg
from agent.evidence.badge import list_badge
from agent.evidence.branches import Trim
from agent.evidence.wording import list_words
from agent.maxima import maximum_in
from probes.doors.outputs import written
from probes.errors import FeatureError, SettingsError
from probes.evidence import Evidence, ProbeRequest, Rank, Sweep, TokenList, Tree, sweep_json, tokens_json, tree_json
from probes.features import parse_features
from probes.probe import run_probes
from probes.settings import AUTO, ProbeKind, ProbeSettings
from probes.subject import Subject, load_subject

_TERMINAL_NODES = 60
_PICTURE_NODES = 400
_JSON_NESTING = 10_000
"""Frames the JSON encoder may need: a tree is at most 1,000 tokens deep, two levels each."""


@dataclass(frozen=True)
class TreeOutput:
    """The forms that a tree is wanted in; without any of the four it is drawn in the terminal."""

    as_json: bool
    as_dot: bool
    svg_file: Path | None
    png_file: Path | None
    least: float | None
    """Draw the nodes of at least this probability, instead of those that rank first."""
    rank: Rank = "probability"

    @property
    def is_picture(self) -> bool:
        """Tests if the tree is drawn as a picture."""
        return self.as_dot or self.svg_file is not None or self.png_file is not None


def show_tree(config: RunConfig, feature: str, output: TreeOutput) -> None:
    """Prints or writes the definition tree of one feature. Raises InterpretError."""
    if output.rank == "lift" and (config.probe.tree.contrast is None or config.probe.steering.on):
        raise SettingsError(
            "A tree that is not compared with random directions, as with --contrast off or --steer, has no lift to be "
            "ranked by; use --rank probability."
        )
    *sweeps, tree = _probed(config, feature, "tree")
    assert isinstance(tree, Tree)
    if output.as_json:
        print_json(tree_json(tree, output.rank) | _sweep_json(sweeps))
        return
    most = _PICTURE_NODES if output.is_picture else _TERMINAL_NODES
    picture = Trim(most, rank=output.rank) if output.least is None else Trim(least=output.least, rank=output.rank)
    _print_or_write(tree, picture, sweeps, output)


def _print_or_write(tree: Tree, picture: Trim, sweeps: Sequence[Evidence], output: TreeOutput) -> None:
    if output.as_dot:
        click.echo(tree_dot(tree, picture), nl=False)
    elif output.svg_file is not None:
        _write(output.svg_file, tree_svg(tree, picture).encode("utf-8"))
    elif output.png_file is not None:
        from agent.drawing.raster import tree_png  # with matplotlib, which no other form waits for

        _write(output.png_file, tree_png(tree, picture))
    else:
        _print_sweep(sweeps)
        console().print(tree_outline(tree, picture))


def show_tokens(config: RunConfig, feature: str, as_json: bool) -> None:
    """Prints the token list of one feature. Raises InterpretError."""
    *sweeps, found = _probed(config, feature, "tokens")
    assert isinstance(found, TokenList)
    if as_json:
        print_json(tokens_json(found) | _sweep_json(sweeps))
        return
    _print_sweep(sweeps)
    screen = console()
    badge = list_badge(found)
    screen.print(
        facts([(f"feature {found.feature}", list_words(found)), *([("the list", badge.brief)] if badge else [])])
    )
    screen.print(token_list(found))


def _sweep_json(sweeps: Sequence[Evidence]) -> dict[str, Any]:
    found = [sweep_json(sweep) for sweep in sweeps if isinstance(sweep, Sweep)]
    return {"sweep": found[0]} if found else {}


def _print_sweep(sweeps: Sequence[Evidence]) -> None:
    for sweep in sweeps:
        assert isinstance(sweep, Sweep)
        console().print(sweep_table(sweep))


def _probed(config: RunConfig, feature: str, kind: ProbeKind) -> list[Evidence]:
    """Returns the evidence of that kind, after the sweep for its settings or for the agreement of base prompts."""
    subject = load_subject(config.subject)
    features = parse_features(feature, subject.card.n_features)
    if len(features) != 1:
        raise FeatureError(f"Feature {feature!r} is not one feature; give a single index.")
    read_tokens(Console(stderr=True), subject, [config.probe.vector.weights])
    if kind == "tree" and config.probe.tree.prompt == AUTO:
        find_prompts(Console(stderr=True), subject)
    swept = config.probe.vector.is_auto or (kind == "tree" and config.agreement)
    kinds: list[ProbeKind] = ["sweep", kind] if swept else [kind]
    probe = _measured(config, subject, features[0]) if kind == "tree" else config.probe
    return run_probes(subject, [ProbeRequest(one, features[0], probe) for one in kinds])


def _measured(config: RunConfig, subject: Subject, feature: int) -> ProbeSettings:
    """Returns the settings with the feature's maximum activation, if steering needs it and the log has it."""
    steering = config.probe.steering
    if not steering.on or steering.maximum is not None:
        return config.probe
    maximum = maximum_in(config.log, subject.card.fingerprint, feature)
    return config.probe.model_copy(update={"steering": steering.model_copy(update={"maximum": maximum})})


def print_json(data: Any) -> None:
    """Prints `data` on one line, however deeply it is nested."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _JSON_NESTING))
    try:
        click.echo(json.dumps(data))
    finally:
        sys.setrecursionlimit(limit)


def _write(path: Path, picture: bytes) -> None:
    with written(path) as file:
        file.write(picture)
    click.echo(f"Wrote {path}.")
