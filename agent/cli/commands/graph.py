"""`interpret graph`: the features of an attribution graph labelled as any others, and the labels written into it.

One run for each layer that an SAE is given for. Language models are shown a feature's links with the labels known so
far, so layers are labelled from outputs to inputs, and once more from inputs to outputs where there are several.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from agent.cli.commands.layers import by_layer, configs_of
from agent.cli.commands.loading import SubjectLoader
from agent.cli.commands.run import LabelRequest, labelled
from agent.cli.commands.token_pass import read_tokens_ahead
from agent.cli.given_options import batched
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig, read_settings, settings_in_use
from agent.evidence.printable import printable
from agent.llm import make_explainer
from agent.log.labels import labels_of
from agent.log.naming import log_option
from agent.log.run_log import RunLog
from eval.graphs.graph import Graph, GraphFeature, Node, read_graph
from eval.graphs.graph_context import graph_context
from eval.graphs.labelling import write_labels
from eval.graphs.supernodes import propose
from probes.doors.outputs import check_output
from probes.presets import PRESETS
from prompts import render

_PROMPT_CHARS = 120


@dataclass(frozen=True)
class GraphRequest:
    """The graph to label, and the options for it."""

    path: Path
    target: Path | None
    """The file that the labelled graph is written to; None keeps the labels in the log alone."""
    top: int | None
    overwrite: bool
    supernodes: bool
    """True to propose supernodes and write them too."""
    new: bool
    dry: bool


@dataclass(frozen=True)
class FeatureChoice:
    """The features to be labelled, by layer, and how many are not, by why."""

    features: Mapping[int, Sequence[int]]
    left: Mapping[str, int]


@dataclass(frozen=True)
class LayerCircuit:
    """A graph with the labels that the run of one layer may read."""

    graph: Graph
    layer: int
    sweep: int
    labels: Mapping[GraphFeature, str]
    """Labels of the other layers, as known when the run was begun or resumed."""

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Returns the settings that identify the graph."""
        prompt = printable(self.graph.prompt[:_PROMPT_CHARS])
        return {"prompt": prompt, "digest": self.graph.digest, "layer": self.layer, "sweep": self.sweep}

    def part(self, feature: int) -> str | None:
        """Returns the prompt's part about the feature."""
        place = GraphFeature(self.layer, feature)
        return (
            render("graph", graph_context(self.graph, place, self.labels)).text
            if place in self.graph.features
            else None
        )


def label_graph(options: Mapping[str, Any], settings_file: Path | None, layers: str | None, asked: GraphRequest) -> int:
    """Labels, writes and tells; the exit status. `options` are the command's, with any number of SAEs.

    Raises InterpretError, and UsageError where no subject is named.
    """
    screen = console()
    graph = read_graph(asked.path)
    configs = _configs(options, settings_file, layers, graph)
    batched(configs[0])
    if asked.target is not None:
        check_output(asked.target, [configs[0].log])
    saes, load = by_layer(configs), SubjectLoader()
    chosen = choose(graph, {layer: one.n_features for layer, one in saes.items()}, asked)
    screen.print(facts(_opening(graph, chosen)))
    labels: dict[GraphFeature, str] = {}
    senses: dict[GraphFeature, Sequence[str]] = {}
    status, run_ids = 0, list[int]()
    if not asked.dry:
        read_tokens_ahead(screen, [saes[layer].config for layer in chosen.features], load)
    for sweep, layer in _order(chosen, bool(_explainer_reads(configs[0]))):
        circuit = LayerCircuit(graph, layer, sweep, {f: label for f, label in labels.items() if f.layer != layer})
        spec = f"of layer {layer} in {asked.path.name}"
        config = saes[layer].config
        wanted = LabelRequest(
            spec, asked.new, asked.dry, features=chosen.features[layer], circuit=circuit, others=[*run_ids]
        )
        run = labelled(config, wanted, load)
        status = max(status, run.status)
        if run.run_id is not None:
            run_ids.append(run.run_id)
            _take_up(labels, senses, config.log, layer, run.run_id)
        if run.stopped is not None:  # also by a batch on its way: what follows reads its labels
            break
    if not asked.dry:
        for sentence in _closing(graph, chosen, labels, senses, asked, configs[0].log, run_ids):
            screen.print(Text(sentence))
    return status


def _configs(
    options: Mapping[str, Any], settings_file: Path | None, layers: str | None, graph: Graph
) -> list[RunConfig]:
    """Returns a config for each SAE; without one, for the subject that the graph names. Raises UsageError."""
    file = settings_in_use(settings_file)
    in_file = read_settings(file) if file else {}
    if any(options[name] or name in in_file for name in ("subject", "model", "sae")):
        return configs_of(options, settings_file, layers)
    if graph.scan in PRESETS:
        return configs_of({**options, "subject": graph.scan}, settings_file, layers)
    raise click.UsageError(
        f"The graph's metadata name {graph.scan or 'nothing'!r}, which is not a known subject; name its model and "
        "transcoders by --subject NAME, or by --model MODEL and --sae PLACE, once for each layer."
    )


def choose(graph: Graph, n_features: Mapping[int, int], asked: GraphRequest) -> FeatureChoice:
    """Chooses the features to label, given how many the SAE of each layer has, the most influential first."""
    wanted: dict[int, list[int]] = {}
    left: dict[str, int] = {}
    n_chosen = 0
    for feature, nodes in graph.features.items():
        why = _why_not(feature, nodes, n_features, asked.overwrite)
        if why is None and (asked.top is None or n_chosen < asked.top):
            wanted.setdefault(feature.layer, []).append(feature.number)
            n_chosen += 1
        else:
            why = why or f"beyond the {asked.top:,} most influential (--top)"
            left[why] = left.get(why, 0) + 1
    return FeatureChoice(wanted, left)


def _why_not(
    feature: GraphFeature, nodes: Sequence[Node], n_features: Mapping[int, int], overwrite: bool
) -> str | None:
    if feature.layer not in n_features:
        return "of layers without an SAE here (--sae may be repeated)"
    if feature.number >= n_features[feature.layer]:
        return "that the SAE does not have"
    if not overwrite and all(node.clerp.strip() for node in nodes):
        return "labelled in the file already (--overwrite replaces labels)"
    return None


def _explainer_reads(config: RunConfig) -> bool:
    """Tells whether the explainer reads a graph; rules do not."""
    return bool(make_explainer(config.llm, config.base_url or "", config.answer_tokens, config.effort).forms)


def _order(chosen: FeatureChoice, reads: bool) -> Iterator[tuple[int, int]]:
    """Yields sweep and layer: first from outputs to inputs, then from inputs to outputs."""
    layers = sorted(chosen.features)
    yield from ((1, layer) for layer in reversed(layers))
    if reads and len(layers) > 1:
        yield from ((2, layer) for layer in layers)


def _take_up(
    labels: dict[GraphFeature, str], senses: dict[GraphFeature, Sequence[str]], log: Path, layer: int, run_id: int
) -> None:
    """Adds the labels of a run, and their senses; where it abstains, an earlier run's go: this run knew more."""
    with RunLog.open(log, read_only=True) as opened:
        rows = opened.read(labels_of, run_id)
    for row in rows:
        labels.pop(GraphFeature(layer, row.feature), None)
        if row.status == "labelled":
            labels[GraphFeature(layer, row.feature)] = row.label
            senses[GraphFeature(layer, row.feature)] = [one.text for one in row.senses if not one.dropped]


def _opening(graph: Graph, chosen: FeatureChoice) -> Iterator[tuple[str, str]]:
    layers = sorted({feature.layer for feature in graph.features})
    where = f" in layers {layers[0]} to {layers[-1]}" if layers else ""
    yield (
        "graph",
        (f"{graph.path}: {len(graph.nodes):,} nodes, {len(graph.features):,} features{where}, {graph.n_links:,} links"),
    )
    yield "its prompt", graph.prompt if len(graph.prompt) <= _PROMPT_CHARS else f"{graph.prompt[:_PROMPT_CHARS]}…"
    n_chosen = sum(map(len, chosen.features.values()))
    yield "to label", f"{_features(n_chosen)}, {_share(graph, chosen):.0%} of the influence of all nodes"
    for why, number in chosen.left.items():
        yield "not labelled", f"{_features(number)} {why}"
    for why, number in graph.left.items():
        yield "kept as it was", f"{number:,} {why}"
    for note in graph.notes:
        yield "note", note


def _features(number: int) -> str:
    return "1 feature" if number == 1 else f"{number:,} features"


def _share(graph: Graph, chosen: FeatureChoice) -> float:
    return sum(graph.influence[GraphFeature(layer, index)] for layer, some in chosen.features.items() for index in some)


def _closing(
    graph: Graph,
    chosen: FeatureChoice,
    labels: Mapping[GraphFeature, str],
    senses: Mapping[GraphFeature, Sequence[str]],
    asked: GraphRequest,
    log: Path,
    run_ids: Sequence[int],
) -> Iterator[str]:
    asked_for = {GraphFeature(layer, index) for layer, some in chosen.features.items() for index in some}
    found = {feature: label for feature, label in labels.items() if feature in asked_for}
    before = {f for f, nodes in graph.features.items() if f not in asked_for and any(n.clerp.strip() for n in nodes)}
    share = sum(graph.influence[feature] for feature in {*found, *before})
    yield (
        f"{len(found):,} features got a label, {len(before):,} had one: together {share:.0%} of the influence of all "
        f"nodes of the graph, which has {_features(len(graph.features))}."
    )
    if without := len(asked_for) - len(found):
        were = f"{_features(without)} {'was looked at and has' if without == 1 else 'were looked at and have'} no label"
        yield f"{were}: interpret log {run_ids[-1]} --status abstained {log_option(log)} says why."
    if asked.target is None:
        yield "The labels are only in the log; --to OUT.json writes them into a copy of the graph."
        return
    known = {f: [next(n.clerp for n in graph.features[f] if n.clerp.strip())] for f in before}
    texts = known | {feature: [label, *senses.get(feature, ())] for feature, label in found.items()}
    proposed = propose(graph, texts) if asked.supernodes else ()
    changes = write_labels(asked.path, asked.target, found, asked.overwrite, proposed)
    groups = (
        f", {changes.n_supernodes:,} supernodes, {changes.n_pinned:,} of their nodes pinned" if asked.supernodes else ""
    )
    target = shlex.quote(str(asked.target))
    yield f"Wrote {asked.target}: labels at {changes.n_labels:,} nodes{groups}, all else unchanged."
    yield f"Its nodes with labels and links, in the browser: interpret serve --graph {target} {log_option(log)}"
