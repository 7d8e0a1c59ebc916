"""Several SAEs in one command: `python -m tests.bench.bench_layers [WHAT] [--tokens N] [--features N]`. WHAT is

- `pass` (the default): one pass over the demo's texts for six hooks of SmolLM2, the SAEs of which read the axes of the
  stream, against six passes; the time ratio, and whether every example, count and activation is the same;
- `vocabulary`: the vocabulary of the demo's model read once for two and for three hooks, against a pass for each; the
  ratio, and whether the files in the cache are the same;
- `run`: a random model of 26 layers, labelled by the rule-based explainer, with examples and scores, by three commands;
  the times, the log's size, the times of its pages, and its layers beside one another.
"""

import argparse
import contextlib
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from agent.cli import main as interpret
from eval.collect.corpora import CorpusFaults, documents
from eval.collect.corpus_pass import Collection, CollectSettings, collect, collect_all
from probes.ghost import token_states
from probes.presets import PRESETS, SubjectSource
from probes.subject import Subject, load_subject
from tests.bench.bench_pages import tell_times
from tests.layered import write_layer
from tests.subjects import D_MODEL, write_model

HOOKS = (4, 9, 14, 19, 24, 29)
LAYERS = 26
WIDTH = 576
DEMO_HOOKS = (1, 2, 3)
DEMO_WIDTH = 128
_TURNS = 5
_SMALL = ("--cutoff", "0.02", "--max-depth", "4", "--contrast", "off", "--rounds", "1")
"""Trees of the random model are noise: these are enough of it."""


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pass", "vocabulary", "run"), nargs="?", default="pass")
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        works: dict[str, Callable[[Path, int, int], None]] = {"pass": _passes, "vocabulary": _vocabulary, "run": _run}
        works[asked.what](Path(folder), asked.tokens, asked.features)


def _passes(folder: Path, n_tokens: int, n_features: int) -> None:
    model = PRESETS["smollm2"].model
    subjects: list[Subject] = []
    for layer in HOOKS:
        sae = write_layer(folder / str(layer), layer, WIDTH)
        source = SubjectSource(model=model, sae=str(sae), device="cpu")
        subjects.append(load_subject(source, subjects[0] if subjects else None))
    texts = list(islice(documents("demo", CorpusFaults()), n_tokens // 10))
    settings, features = CollectSettings(n_tokens=n_tokens), range(n_features)
    collect(subjects[-1], texts[:50], features, settings)  # what is done once is not to count
    begun = _clocks()
    together = collect_all([(subject, features) for subject in subjects], texts, settings)
    between = _clocks()
    apart = [collect(subject, texts, features, settings) for subject in subjects]
    ended = _clocks()
    n, threads = together[0].n_tokens, torch.get_num_threads()
    print(f"SmolLM2-135M, hooks at layers {HOOKS}, {n_features} features each, {n:,} tokens, {threads} threads")
    for name, before, middle, after in zip(("wall clock", "processor"), begun, between, ended, strict=True):
        one, six = middle - before, after - middle
        print(f"{name}: one pass for all {one:.1f} s, a pass for each {six:.1f} s, {six / one:.2f} times as long")
    same = [_plain(a) == _plain(b) for a, b in zip(together, apart, strict=True)]
    n_examples = sum(len(item.examples) for found in together for item in found.features.values())
    print(f"{n_examples:,} examples and all counts: the same at {sum(same)} of {len(same)} hooks")


def _vocabulary(folder: Path, _n_tokens: int, _n_features: int) -> None:
    """Takes turns, and the fastest of each: a busy machine makes the same work slower, never faster."""
    model, subjects = PRESETS["demo"].model, list[Subject]()
    for layer in DEMO_HOOKS:
        sae = write_layer(folder / str(layer), layer, DEMO_WIDTH)
        source = SubjectSource(model=model, sae=str(sae), device="cpu")
        subjects.append(load_subject(source, subjects[0] if subjects else None))
    for n in (2, 3):
        some, together, apart = subjects[-n:], list[float](), list[float]()
        caches = folder / f"together {n}", folder / f"apart {n}"
        for _ in range(_TURNS):
            together.append(_read(caches[0], [some]))
            apart.append(_read(caches[1], [[subject] for subject in some]))
        one, each, threads = min(together), min(apart), torch.get_num_threads()
        print(f"demo's model, hooks at layers {DEMO_HOOKS[-n:]}, {threads} threads, seconds of the processor: one pass")
        print(f"{one:.2f}, a pass for each {each:.2f}, {each / one:.2f} times as long; ", end="")
        print(f"the same files: {len({_contents(cache) for cache in caches}) == 1}")


def _read(cache: Path, groups: Sequence[Sequence[Subject]]) -> float:
    """Reads the vocabulary once for each group, into an empty cache; returns the processor's seconds."""
    shutil.rmtree(cache, ignore_errors=True)
    with patch.object(token_states, "folder", lambda: cache):
        start = time.process_time()
        for group in groups:
            token_states._made(group, None)
        return time.process_time() - start


def _contents(cache: Path) -> tuple[tuple[str, bytes], ...]:
    return tuple((file.name, file.read_bytes()) for file in sorted(cache.iterdir()))


def _clocks() -> tuple[float, float]:
    """Seconds on the wall and of the processor, which other programs on the machine disturb less."""
    return time.perf_counter(), time.process_time()


def _plain(found: Collection) -> Any:
    """Everything that is kept of a pass, to be compared number by number."""
    features = {number: asdict(item) for number, item in found.features.items()}
    return features, found.n_tokens, asdict(found.check), found.pool.windows, found.pool.peaks.tolist()


def _run(folder: Path, n_tokens: int, n_features: int) -> None:
    write_model(folder / "model", "llama", num_hidden_layers=LAYERS)
    for layer in range(LAYERS):
        write_layer(folder / f"sae-{layer}", layer, D_MODEL)
    named = ["--model", str(folder / "model"), "--sae", str(folder / "sae-{layer}"), "--layers", f"0-{LAYERS - 1}"]
    log, corpus = folder / "layers.db", folder / "corpus.txt"
    corpus.write_text("\n\n".join(f"the cat {n} sat on the mat, the dog {n} ran" for n in range(n_tokens // 12)))
    common, features = [*named, "--device", "cpu", "--log", str(log)], ["--features", f"0-{n_features - 1}"]
    print(f"{LAYERS} layers x {n_features} features, {torch.get_num_threads()} threads")
    for name, command in (
        ("labelled", [*features, *common, *_SMALL]),
        ("examples", ["examples", *features, *common, "--corpus", str(corpus), "--context", "32"]),
        ("scored", ["score", *common]),
    ):
        _tell(name, command)
        size = sum(file.stat().st_size for file in folder.glob("layers.db*"))
        print(f"  log {size / 2**20:.1f} MiB, {size / 1024 / (LAYERS * n_features):.1f} KiB a feature")
    for command in (["log"], ["show", "8:12"], ["export", "--to", str(folder / "out.csv")]):
        _tell(f"interpret {command[0]}", [*command, "--log", str(log)])
    printed = _tell("interpret log 1", ["log", "1", "--log", str(log)])
    tell_times(log, {page: page for page in ("/", "/runs/9", "/runs/9/labels", "/runs/9/features/12")})
    print("\n".join(printed.splitlines()[-LAYERS - 1 :]))


def _tell(name: str, command: Sequence[str]) -> str:
    """Runs a command of `interpret` in this process and prints its times; returns what it printed."""
    begun, out = _clocks(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        interpret([*command])
    wall, processor = (after - before for before, after in zip(begun, _clocks(), strict=True))
    print(f"{name}: {wall:.1f} s, {processor:.1f} s of the processor", flush=True)
    return out.getvalue()


if __name__ == "__main__":
    main()
