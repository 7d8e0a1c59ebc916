"""A graph of 500 nodes over four layers of SmolLM2, labelled end to end.

    python -m tests.bench.graph_smollm2 [--nodes N] [--keep FOLDER]

The features are those that are most active on a prompt, in the SAE of layer 4 that ships here and in SAEs of layers 1
to 3 that read the axes of the stream; a link is what the row that the one writes adds to the pre-activation of the
other at the same token, and influence is a share of all activation. The explainer is a server on this machine that
answers with the first tokens of the list it is shown: what is measured is time, calls and how much gets a label, not
the labels. Into the folder of --keep, if one is given, go graph.json, and labelled.json with graph-metadata.json, which
circuit-tracer's own front end opens.
"""

import argparse
import contextlib
import io
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from agent.cli import main as interpret
from agent.log.calls import spent_by
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from probes.hooks.activations import cut_at_last
from probes.presets import PRESETS, SMOLLM2, SubjectSource
from probes.subject import Subject, first_ids, load_subject
from tests.bench.bench_layers import WIDTH
from tests.graph_files import document, feature_node, link, other_node, write
from tests.layered import write_layer
from tests.llm_script import Asked, Reply
from tests.llm_server import LLMServer

PROMPT = "The gardener pulled the carrots and the leeks out of the wet soil before the first frost came"
AXES = (1, 2, 3)
LINKS = 4
LAST = 31
"""Layer of the output: circuit-tracer counts one beyond the model's 30."""
SLUG = "labelled"
"""Name of the graph, which in circuit-tracer's folders is its file's too."""
_WORDS = 3
_LISTS = "## Token lists"
_LIST = re.compile(r': ("[^"]+".*)')
_TOKEN = re.compile(r'"([^"]+)" ')
_FAST = ("--cutoff", "0.1", "--max-depth", "3", "--contrast", "off", "--rounds", "1")


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        saes = [*(str(write_layer(folder / f"sae-{layer}", layer, WIDTH)) for layer in AXES), str(SMOLLM2 / "sae")]
        graph = _graph(saes, asked.nodes)
        path, out, log = folder / "graph.json", folder / "labelled.json", folder / "graph.db"
        write(path, graph)
        _labelled(path, out, log, saes, graph)
        if asked.keep:
            shutil.copy(path, asked.keep)
            shutil.copy(out, asked.keep)
            write(asked.keep / "graph-metadata.json", {"graphs": [graph["metadata"]]})


def _graph(saes: list[str], n_nodes: int) -> dict[str, Any]:
    subjects: list[Subject] = []
    for sae in saes:
        source = SubjectSource(model=PRESETS["smollm2"].model, sae=sae, device="cpu")
        subjects.append(load_subject(source, subjects[0] if subjects else None))
    tokenizer = subjects[0].tokenizer
    ids = [*first_ids(subjects[0]), *tokenizer.encode(PROMPT, add_special_tokens=False)]
    with cut_at_last(subjects[0].model, [one.sae.config.hook for one in subjects]) as streams:
        states = streams(torch.tensor([ids]))
    found = []
    for one, x in zip(subjects, states, strict=True):
        active = one.sae.encode(x[0].float())
        active[0] = 0  # the first position is unlike all others
        values, places = active.flatten().topk(n_nodes // len(subjects))
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            found.append((one, *divmod(place, active.shape[1]), value))
    tokens = [tokenizer.decode([i]) for i in ids]
    found.sort(key=lambda item: -item[3])
    total, running, nodes = sum(item[3] for item in found), 0.0, []
    for one, position, feature, value in found:
        running += value / total
        nodes.append(feature_node(one.card.layer, feature, position, running, activation=value))
    end = _output(subjects[0], ids)
    whole = document([*nodes, end], _links(found, nodes, end), tokens=tokens, scan="smollm2", slug=SLUG)
    whole["qParams"]["supernodes"] = []
    return whole


def _output(subject: Subject, ids: list[int]) -> dict[str, Any]:
    """Returns the node of the likeliest next token, as circuit-tracer writes it."""
    with torch.no_grad():
        shares = subject.model(torch.tensor([ids])).logits[0, -1].float().softmax(0)
    probability, token_id = (found.item() for found in shares.max(0))
    token, last = subject.tokenizer.decode([token_id]), len(ids) - 1
    said = f'Output "{token}" (p={probability:.3f})'
    return other_node("logit", f"{LAST}_{token_id}_{last}", last, feature=token_id, clerp=said, is_target_logit=True)


def _links(found: list[Any], nodes: list[Any], end: Any) -> list[Any]:
    """The strongest of each node to later layers at its token; of the last layer to the output."""
    links = []
    for (one, position, feature, value), node in zip(found, nodes, strict=True):
        later = [
            (value * float(one.sae.decoder_rows([feature])[0] @ other.sae.encoder_rows([far])[0]), place)
            for place, (other, at, far, _) in enumerate(found)
            if at == position and other.card.layer > one.card.layer
        ]
        for weight, place in sorted(later, key=lambda item: -abs(item[0]))[:LINKS]:
            links.append(link(node, nodes[place], weight))
        if not later:
            links.append(link(node, end, value))
    return links


def _labelled(path: Path, out: Path, log: Path, saes: list[str], graph: dict[str, Any]) -> None:
    def reply(asked: Asked) -> Reply:
        listed = _LIST.search(asked.user.rpartition(_LISTS)[2])
        tokens = _TOKEN.findall(listed[1])[:_WORDS] if listed else []
        label = json.dumps(", ".join(map(str.strip, tokens)) or "no token")
        return Reply(f'{{"action": "label", "label": {label}, "confidence": 0.5}}')

    named = ["--model", PRESETS["smollm2"].model, *(part for sae in saes for part in ("--sae", sae)), "--device", "cpu"]
    with LLMServer(reply) as server:
        asking = ["--llm", "openai:m", "--base-url", server.base_url("openai")]
        command = ["graph", str(path), "--to", str(out), "--log", str(log), "--supernodes", *named, *_FAST, *asking]
        start, printed = time.perf_counter(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            interpret(command)
        seconds = time.perf_counter() - start
        n_calls = len(server.history)
    features = {node["node_id"].rpartition("_")[0] for node in graph["nodes"][:-1]}
    print("\n".join(printed.getvalue().splitlines()[-8:]))
    labelled = sum(bool(node["clerp"]) for node in json.loads(out.read_text("utf-8"))["nodes"]) - 1
    with RunLog.open(log, read_only=True) as opened:
        runs = opened.read(all_runs)
        spent = sum(opened.read(spent_by, run.run_id).tokens for run in runs)
    size = log.stat().st_size / 2**20
    print(
        f"{len(graph['nodes']) - 1} nodes, {len(features)} features of layers {[*AXES, 4]}, {len(graph['links'])} links"
    )
    print(f"{seconds:.0f} s, {n_calls} calls, {spent:,} tokens, {len(runs)} runs, log {size:.1f} MiB")
    print(f"{labelled} nodes have a label: {labelled / (len(graph['nodes']) - 1):.0%}")


if __name__ == "__main__":
    main()
