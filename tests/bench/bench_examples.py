"""Tokens per second of the example pass and of the bare forward cut at the hook, and the memory that a pass takes.

    python -m tests.bench.bench_examples [--tokens N] [--turns N] [--device cuda]

Two subjects: the demo, whose SAE reads after its first layer, and a random Gemma of hidden size 512 cut in its middle.
Bare forward (of the model as transformers makes it) and pass read the same batches of token ids, in turns, with all of
torch's threads at their disposal; the ratio is the median over the turns. Tokenising is timed by itself. On a GPU both
models and the SAEs are there, in the dtypes that the product gives them; nothing is fetched from anywhere.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import psutil
import torch
from transformers import GemmaConfig, GemmaForCausalLM

from eval.collect.corpora import CorpusFaults, Document, documents
from eval.collect.corpus_pass import (
    BATCH_TOKENS,
    CollectSettings,
    PassObserver,
    collect,
    forward_tokens,
    keep_freed_memory,
    scan,
)
from eval.collect.tally import Tally
from eval.collect.windows import WindowBatch, WindowCutter
from probes.columns import Columns
from probes.hooks.activations import cut_at
from probes.model.embedding import EmbeddingTable
from probes.model.products import use_onednn
from probes.presets import SubjectSource
from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig
from probes.subject import Subject, load_subject
from tests.stock import stock

N_FEATURES = 500
MIB = 1 << 20


@dataclass(frozen=True)
class Speeds:
    """Tokens per second, one number for each turn."""

    name: str
    n_tokens: int
    bare: list[float]
    full: list[float]

    def __str__(self) -> str:
        ratios = [full / bare for full, bare in zip(self.full, self.bare, strict=True)]
        bare, full, ratio = (statistics.median(column) for column in (self.bare, self.full, ratios))
        return (
            f"{self.name:12}{self.n_tokens:>10,} tokens, {len(ratios)} turns: bare forward {bare:>9,.0f} tokens/s, "
            f"pass {full:>9,.0f} tokens/s, ratio {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Prints speeds on both subjects, then peak memory at one and at ten times the corpus."""
    asked = _arguments()
    if asked.memory_of:
        print(_memory_growth_mib(asked.memory_of, asked.device))
        return
    demo = load_subject(SubjectSource(name="demo", device=asked.device))
    print(f"{_device_name(demo)}, {torch.get_num_threads()} torch threads, {N_FEATURES} features")
    _print_whole(demo, asked.tokens)
    keep_freed_memory()  # the pass does so too: the bare forward is not to lose by it
    print(_speeds("demo", demo, _batches(demo, documents("demo", CorpusFaults()), asked.tokens), asked.turns))
    gemma = random_gemma(demo)
    n_long = asked.tokens // 10 if asked.device == "cpu" else asked.tokens
    print(_speeds("gemma 512", gemma, _batches(gemma, _long(documents("demo", CorpusFaults())), n_long), asked.turns))
    growth = {n: _in_own_process(n, asked.device) for n in (asked.tokens, 10 * asked.tokens)}
    print(", ".join(f"{n:,} tokens: peak {mib:,.0f} MiB above the loaded subject" for n, mib in growth.items()))


def random_gemma(demo: Subject) -> Subject:
    """A Gemma of 8 layers and hidden size 512 with a jumprelu SAE after its fourth, of 4,096 features of which one in a
    hundred activates, on the demo's device and in its dtype; the tokenizer is the demo's, whose ids it knows."""
    torch.manual_seed(0)
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "vocab_size": 32_000}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 64}
    model = GemmaForCausalLM(GemmaConfig(**shape, **heads)).eval().requires_grad_(False)
    model = model.to(demo.model.device, demo.model.dtype)
    use_onednn(model)
    hook = Hook(3, "post")
    rows = torch.randn(4096, 512)
    config = SaeConfig("jumprelu", 512, 4096, hook)
    zeros = torch.zeros(4096)
    sae = SAE(config, rows.T.contiguous(), rows, torch.zeros(512), b_enc=zeros, threshold=zeros).to(model.device)
    ids = torch.randint(4, 7000, (16, 128)).to(model.device)
    with cut_at(model, hook) as stream:
        threshold = sae.encode(stream(ids).flatten(0, 1).float()).quantile(0.99, dim=0)
    card = demo.card.model_copy(update={"d_model": 512, "vocab": 32_000, "n_features": 4096, "hook": str(hook)})
    table = EmbeddingTable(model.get_input_embeddings().weight)
    return replace(demo, card=card, model=model, sae=replace(sae, threshold=threshold), table=table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="on a CPU the larger model reads a tenth")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--memory-of", type=int, help="print only the MiB that a pass over so many tokens takes")
    return parser.parse_args()


def _batches(subject: Subject, corpus: Iterator[Document], n_tokens: int) -> list[WindowBatch]:
    return list(WindowCutter(subject, CollectSettings().context, BATCH_TOKENS).batches(corpus, n_tokens))


def _long(corpus: Iterator[Document]) -> Iterator[Document]:
    """Documents that fill windows."""
    while some := list(islice(corpus, 20)):
        yield Document(some[0].where, "\n".join(document.text for document in some))


def _speeds(name: str, subject: Subject, batches: Sequence[WindowBatch], turns: int) -> Speeds:
    n_tokens = sum(batch.n_tokens for batch in batches)
    plain = replace(subject, model=stock(subject.model))
    _bare(plain, batches[:1])
    bare, full = [], []
    for _ in range(turns):
        bare.append(n_tokens / _seconds(lambda: _bare(plain, batches)))
        full.append(n_tokens / _seconds(lambda: _pass(subject, batches)))
    return Speeds(name, n_tokens, bare, full)


def _bare(subject: Subject, batches: Sequence[WindowBatch]) -> None:
    with cut_at(subject.model, subject.sae.config.hook) as stream:
        for batch in batches:
            for rows in batch.slices(forward_tokens(subject)):
                stream(torch.from_numpy(batch.ids[rows, : batch.width(rows)]).to(subject.model.device))
    if subject.model.device.type == "cuda":
        torch.cuda.synchronize()  # the pass waits for the GPU too: it needs what comes of it


def _pass(subject: Subject, batches: Sequence[WindowBatch]) -> None:
    settings = CollectSettings()
    tally = Tally(range(N_FEATURES), settings.sizes, settings.seed)
    scan(subject, [Columns(subject.sae, range(N_FEATURES))], batches, [tally], lambda _: None)


def _print_whole(subject: Subject, n_tokens: int) -> None:
    """Generating, tokenising, and `collect` from texts to examples."""
    texts = list(islice(documents("demo", CorpusFaults()), n_tokens // 25))
    batches: list[WindowBatch] = []
    seconds = _seconds(lambda: batches.extend(_batches(subject, iter(texts), n_tokens)))
    n_read = sum(batch.n_tokens for batch in batches)
    print(f"tokenising and cutting into windows: {n_read / seconds:,.0f} tokens/s")
    settings = CollectSettings(n_tokens=n_tokens)
    seconds = _seconds(lambda: collect(subject, iter(texts), range(N_FEATURES), settings))
    print(f"collect, from texts to examples: {n_read / seconds:,.0f} tokens/s")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class _Memory(PassObserver):
    """The most memory that the process has had after a batch."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.peak = self._process.memory_info().rss

    def read(self, n_tokens: int) -> None:  # noqa: ARG002, memory counts here
        """Looks again."""
        self.peak = max(self.peak, self._process.memory_info().rss)


def _memory_growth_mib(n_tokens: int, device: str) -> float:
    """Returns how far the process's peak rises above what it holds before the pass."""
    subject = load_subject(SubjectSource(name="demo", device=device))
    memory = _Memory()
    before = memory.peak
    collect(subject, documents("demo", CorpusFaults()), range(N_FEATURES), CollectSettings(n_tokens=n_tokens), memory)
    return (memory.peak - before) / MIB


def _device_name(subject: Subject) -> str:
    device = subject.model.device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _in_own_process(n_tokens: int, device: str) -> float:
    command = [sys.executable, "-m", "tests.bench.bench_examples", "--memory-of", str(n_tokens), "--device", device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
