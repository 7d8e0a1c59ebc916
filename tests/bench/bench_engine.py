"""Measures how near the machine's limit trees and token lists are: everything in one run, kept as a file.

    make bench                      # CPU, float32, 8M and 46M weights
    python -m tests.bench.bench_engine --device cuda --dtype bfloat16 --sizes 2B --cutoff 3e-4 --growth 16,256,16384

Share: floating-point operations of one token's forward per node (attention's products left out), over what the machine
does in a square matrix product in the same run, PyTorch's own or oneDNN's, whichever is faster. The plain reference
does one uncached forward per node, last logits only, with the model as transformers makes it, in the same dtype on the
same threads. Models have random weights; see tests/bench/random_models.py.
"""

import argparse
import datetime
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from torch import Tensor
from transformers import GemmaForCausalLM

from probes.growing.growth import Grower
from probes.growing.memory import MIB, free_bytes, peak_bytes
from probes.growing.tree_columns import TreeColumns
from probes.model.embedding import EmbeddingTable
from probes.model.products import linear, use_onednn
from probes.model.substitution import ghosts_at
from probes.settings import TokenSettings, TreeSettings
from probes.tokenizer.prompt import PromptIds
from probes.tokens import nearest
from tests.bench.random_models import SIZES, Size, random_gemma
from tests.stock import stock

PLACEHOLDER = 5
PROMPT = PromptIds((*range(10, 16), PLACEHOLDER, *range(20, 26)), 6)
"""As long as the default prompt is in most tokenizers."""
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Rates:
    """What is measured against: floating-point operations per second of square matrix products."""

    usual: float
    """PyTorch's own."""
    best: float
    """Of that and oneDNN's, which are the same but for float32 on a CPU."""

    def share(self, size: Size, nodes_per_s: float) -> float:
        """Of the best."""
        return nodes_per_s * size.flop_per_node / self.best

    def __str__(self) -> str:
        usual = "" if self.usual == self.best else f", PyTorch's own {self.usual / 1e9:,.0f}"
        return f"{self.best / 1e9:,.0f} GFLOP/s{usual}"


@dataclass(frozen=True)
class Subject:
    """A model of one size and the ghosts whose trees are grown."""

    name: str
    size: Size
    model: GemmaForCausalLM

    placeholder_id: int = PLACEHOLDER

    @contextmanager
    def ghosts_at(self, position: int, vectors: Tensor) -> Iterator[None]:
        with ghosts_at(position, vectors, self.model.get_input_embeddings()):
            yield

    def ghosts(self, n: int) -> Tensor:
        """As long as the model's own scaled rows."""
        drawn = torch.randn(n, self.size.d_model, generator=torch.Generator().manual_seed(1))
        rows = self.model.get_input_embeddings().weight
        return drawn.to(rows.device) * rows.float().std() * self.size.d_model**0.5


def main() -> None:
    """Prints every table as it is measured, and keeps them as a file."""
    asked = _arguments()
    if asked.memory_of:
        print(_peak_mib(asked))
        return
    lines = []
    for line in _tables(asked):
        print(line, flush=True)
        lines.append(line)
    RESULTS.mkdir(exist_ok=True)
    kept = RESULTS / f"{datetime.date.today()}-{asked.device}-{'-'.join(asked.sizes)}.txt"
    kept.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"kept in {kept}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", type=lambda name: getattr(torch, name))
    parser.add_argument("--sizes", default="8M,46M", type=lambda names: names.split(","))
    parser.add_argument("--cutoff", default=TreeSettings().cutoff, type=float)
    parser.add_argument("--features", default=64, type=int, help="trees of the main table")
    parser.add_argument("--growth", default="1,10,100,1000", type=lambda n: [int(part) for part in n.split(",")])
    parser.add_argument("--growth-cutoff", default=5e-4, type=float)
    parser.add_argument("--plain", default=200, type=int, help="nodes of the plain reference")
    parser.add_argument("--lists", default=256, type=int, help="token lists of the engine")
    parser.add_argument("--memory-of", default=0, type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _tables(asked: argparse.Namespace) -> Iterator[str]:
    yield f"# {datetime.date.today()}, {_processor(asked.device)}, {torch.get_num_threads()} threads"
    yield f"torch {torch.__version__}, transformers {transformers.__version__}, Python {platform.python_version()}"
    subjects = [_subject(name, SIZES[name], asked) for name in asked.sizes]
    rates = _matrix_rates(asked)
    yield f"matrix product, {asked.dtype}: {rates}"
    for subject in subjects:
        yield from _against_plain(asked, rates, subject)
    yield from _with_features(asked, rates, subjects[0])
    yield from _with_depth(asked, rates, subjects[0])
    if asked.device == "cpu":
        yield from _with_vocabulary(asked, rates)
        yield from _memory(asked)
    else:
        yield from _gpu_memory(asked, subjects[0])
    yield from _rounded(asked, subjects[0])
    yield from _token_lists(asked, subjects)


def _against_plain(asked: argparse.Namespace, rates: Rates, subject: Subject) -> Iterator[str]:
    settings = TreeSettings(cutoff=asked.cutoff)
    _grown(subject, settings, 2)  # warm
    nodes, seconds = _grown(subject, settings, asked.features)
    after = _matrix_rates(asked)
    plainly = replace(subject, model=stock(subject.model)) if asked.device == "cpu" else subject
    plain_s = _timed(lambda: _plain_nodes(plainly, asked.plain), asked.device)
    plain = asked.plain / plain_s
    engine = nodes / seconds
    yield ""
    yield f"## trees, {subject.name} weights: {subject.size}"
    yield f"engine     {asked.features:,} trees, {nodes:,} nodes in {seconds:.1f} s: {engine:,.0f} nodes/s"
    yield f"plain      {asked.plain:,} nodes in {plain_s:.1f} s: {plain:,.0f} nodes/s; {engine / plain:.0f} times"
    highest = Rates(max(rates.usual, after.usual), max(rates.best, after.best))
    share = highest.share(subject.size, engine)
    of_usual = share * highest.best / highest.usual
    yield f"share      {share:.2f} of the best matrix product, {of_usual:.2f} of PyTorch's own"
    yield f"products   before: {rates}; after: {after}"
    different, compared = _different_nodes(plainly, _trees(subject, settings, 1)[0], settings)
    yield f"nodes      {different} of {compared:,} differ from the plain reference's"


def _with_features(asked: argparse.Namespace, rates: Rates, subject: Subject) -> Iterator[str]:
    yield from _heading(f"growth with features, {subject.name} weights, cutoff {asked.growth_cutoff:g}")
    for n in asked.growth:
        yield _row(rates, subject, TreeSettings(cutoff=asked.growth_cutoff), n, f"{n:,} features")


def _with_depth(asked: argparse.Namespace, rates: Rates, subject: Subject) -> Iterator[str]:
    yield from _heading(f"growth with depth, {subject.name} weights, 32 features")
    for depth in (2, 5, 10, 25):
        yield _row(rates, subject, TreeSettings(cutoff=asked.cutoff, max_depth=depth), 32, f"depth {depth}")


def _with_vocabulary(asked: argparse.Namespace, rates: Rates) -> Iterator[str]:
    yield from _heading("growth with vocabulary, the layers of 8M weights, 8 features")
    for vocab in (2048, 8192, 32768, 131_072):
        size = Size(vocab, *(getattr(SIZES["8M"], name) for name in ("d_model", "n_layers", "n_heads", "d_mlp")))
        subject = _subject("", size, asked)
        yield _row(rates, subject, TreeSettings(cutoff=asked.growth_cutoff), 8, f"{vocab:,} tokens")


def _memory(asked: argparse.Namespace) -> Iterator[str]:
    yield from _heading(f"peak memory beyond that for one tree, 8M weights, cutoff {asked.growth_cutoff:g}")
    for n in (10, 100, 1000):
        command = [sys.executable, "-m", "tests.bench.bench_engine", "--memory-of", str(n)]
        peak = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        yield f"{n:>12,} features {peak:>10} MiB"


def _gpu_memory(asked: argparse.Namespace, subject: Subject) -> Iterator[str]:
    """Returns what the engine takes beyond the model, against the budget it made for itself from what was free."""
    yield from _heading(f"peak memory beyond the model's, {subject.name} weights, {asked.features:,} trees")
    settings = TreeSettings(cutoff=asked.growth_cutoff)
    budget = Grower(subject, PROMPT, settings).budget
    free = free_bytes(subject.model.device)
    peak = peak_bytes(subject.model.device, lambda: _grown(subject, settings, asked.features))
    yield (
        f"{peak / MIB:,.0f} MiB of {free / MIB:,.0f} free; budget: {budget.nodes:,} nodes in a forward, "
        f"{budget.cache_bytes / MIB:,.0f} MiB of keys and values, {budget.logits_bytes / MIB:,.0f} MiB of logits"
    )


def _rounded(asked: argparse.Namespace, subject: Subject) -> Iterator[str]:
    """Returns how many nodes a tree in bfloat16 has that the one in float32 has not, or the other way round."""
    settings = TreeSettings(cutoff=asked.growth_cutoff)
    exact = Subject("", subject.size, subject.model.float())
    trees = [_paths(tree) for tree in _trees(exact, settings, 8)]
    rounded = [_paths(tree) for tree in _trees(Subject("", subject.size, subject.model.bfloat16()), settings, 8)]
    subject.model.to(asked.dtype)
    either = [set(one) | set(other) for one, other in zip(trees, rounded, strict=True)]
    apart = [
        one.get(path, other.get(path, 0.0)) / settings.cutoff
        for one, other in zip(trees, rounded, strict=True)
        for path in set(one) ^ set(other)
    ]
    off = sorted(
        abs(one[path] / other[path] - 1)
        for one, other in zip(trees, rounded, strict=True)
        for path in set(one) & set(other)
    )
    yield from _heading(f"bfloat16 against float32, {subject.name} weights, 8 trees, cutoff {settings.cutoff:g}")
    yield (
        f"{len(apart):,} of {sum(map(len, either)):,} nodes are in one of the two trees only, "
        f"{sum(p > 1.2 for p in apart):,} of them more than a fifth above the cutoff; probabilities of the others "
        f"differ by {off[len(off) // 2]:.2%} in the middle, {off[int(0.99 * len(off))]:.1%} at most for 99 %"
    )


def _token_lists(asked: argparse.Namespace, subjects: list[Subject]) -> Iterator[str]:
    yield from _heading("token lists")
    yield f"{'vocabulary':>20} {'engine':>14} {'reference':>14} {'times':>7}"
    tables = [(subject.size.vocab, subject.size.d_model) for subject in subjects]
    for vocab, d_model in dict.fromkeys([*tables, (256_000, 2048)]):
        rows = torch.randn(vocab, d_model, generator=torch.Generator().manual_seed(0)).to(asked.device)
        table = EmbeddingTable(rows)
        vectors = table.centroid + torch.randn(asked.lists, d_model).to(asked.device)
        nearest(table, vectors[:1], TokenSettings())  # what is derived from the table once
        engine = _timed(lambda: nearest(table, vectors, TokenSettings()), asked.device) / len(vectors)  # noqa: B023
        plain = _timed(lambda: [_plain_list(rows, vector) for vector in vectors[:3]], asked.device) / 3  # noqa: B023
        yield f"{f'{vocab:,} x {d_model:,}':>20} {1e3 * engine:11.2f} ms {1e3 * plain:11.1f} ms {plain / engine:7.0f}"


def _heading(text: str) -> list[str]:
    return ["", f"## {text}"]


def _row(rates: Rates, subject: Subject, settings: TreeSettings, n: int, what: str) -> str:
    nodes, seconds = _grown(subject, settings, n)
    share = rates.share(subject.size, nodes / seconds)
    return f"{what:>21} {nodes:>10,} nodes {seconds:>8.2f} s {nodes / seconds:>8,.0f} nodes/s, share {share:.2f}"


def _subject(name: str, size: Size, asked: argparse.Namespace) -> Subject:
    """As a subject is loaded."""
    model = random_gemma(size, asked.device, asked.dtype)
    use_onednn(model)
    return Subject(name, size, model)


def _trees(subject: Subject, settings: TreeSettings, n: int) -> list[TreeColumns]:
    return [*Grower(subject, PROMPT, settings).grow(subject.ghosts(n))]


def _grown(subject: Subject, settings: TreeSettings, n: int) -> tuple[int, float]:
    """Nodes that were expanded (the root and all that are not at the greatest depth), and seconds."""
    trees: list[TreeColumns] = []
    seconds = _timed(lambda: trees.extend(_trees(subject, settings, n)), subject.model.device.type)
    return sum(_n_expanded(tree, settings.max_depth) for tree in trees), seconds


def _n_expanded(tree: TreeColumns, max_depth: int) -> int:
    depth = [0] * len(tree.parents)
    for node, parent in enumerate(tree.parents[1:], start=1):
        depth[node] = depth[parent] + 1
    return sum(of < max_depth for of in depth)


def _plain_nodes(subject: Subject, n: int) -> list[tuple[tuple[int, ...], float]]:
    """The first n nodes of the first tree, breadth first: paths and probabilities."""
    ghost = subject.ghosts(1)[0]
    found: list[tuple[tuple[int, ...], float]] = [((), 1.0)]
    settings = TreeSettings()
    for path, probability in found:
        share = _plain_forward(subject, ghost, path)
        values, ids = share.topk(settings.top_k)
        kept = [(id, probability * p) for p, id in zip(values.tolist(), ids.tolist(), strict=True)]
        found += [((*path, id), p) for id, p in kept if p >= settings.cutoff]
        n -= 1
        if not n:
            return found
    return found


@torch.inference_mode()
def _plain_forward(subject: Subject, ghost: Tensor, path: tuple[int, ...]) -> Tensor:
    """Next-token probabilities after one whole sequence; [vocab], float32."""
    embed = subject.model.get_input_embeddings()
    embeds = embed(torch.tensor([[*PROMPT.ids, *path]], device=subject.model.device))
    embeds[0, PROMPT.ghost_position] = ghost.to(embeds.dtype)
    logits = subject.model(inputs_embeds=embeds, use_cache=False, logits_to_keep=1).logits[0, -1].float()
    logits[PLACEHOLDER] = -torch.inf
    return logits.softmax(dim=-1)


def _different_nodes(plainly: Subject, tree: TreeColumns, settings: TreeSettings, n: int = 60) -> tuple[int, int]:
    """Of the nodes that the plain reference finds below its first n, those that the engine's tree has not."""
    reference = _plain_nodes(plainly, n)
    engine = _paths(tree)
    wanted = [path for path, probability in reference if probability >= settings.cutoff]
    return sum(path not in engine for path in wanted), len(wanted)


def _paths(tree: TreeColumns) -> dict[tuple[int, ...], float]:
    paths: list[tuple[int, ...]] = [()]
    for parent, token in zip(tree.parents[1:], tree.token_ids[1:], strict=True):
        paths.append((*paths[parent], token))
    return dict(zip(paths, tree.probabilities, strict=True))


def _plain_list(rows: Tensor, vector: Tensor) -> Tensor:
    """One token list straight from the formula."""
    centroid = rows.mean(dim=0)
    near = 1 - torch.nn.functional.cosine_similarity(rows, vector[None], dim=1)
    scores = near.clamp(min=0) ** 1.4 / (1 - torch.nn.functional.cosine_similarity(rows, centroid[None], dim=1))
    return scores.sort().indices[:100]


@torch.inference_mode()
def _matrix_rates(asked: argparse.Namespace) -> Rates:
    """Of the best of several products."""
    side = 2048 if asked.device == "cpu" else 8192
    left, right = (torch.randn(side, side, device=asked.device, dtype=asked.dtype) for _ in range(2))

    def rate(way: Callable[[], Tensor]) -> float:
        return 2 * side**3 / min(_timed(way, asked.device) for _ in range(10))

    usual = rate(lambda: left @ right)
    return Rates(usual, max(usual, rate(lambda: linear(left, right))) if asked.device == "cpu" else usual)


def _timed(work: Callable[[], object], device: str) -> float:
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def _peak_mib(asked: argparse.Namespace) -> str:
    """Of a process that grows so many trees, beyond what growing a single one took."""
    subject = _subject("8M", SIZES["8M"], asked)
    settings = TreeSettings(cutoff=asked.growth_cutoff)
    _grown(subject, settings, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _grown(subject, settings, asked.memory_of)
    return f"{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:,.0f}"


def _processor(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name()
    names = [line.partition(":")[2] for line in _cpu_lines() if line.startswith("model name")]
    return names[0].strip() if names else platform.processor()


def _cpu_lines() -> list[str]:
    listing = Path("/proc/cpuinfo")
    return listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []


if __name__ == "__main__":
    main()
