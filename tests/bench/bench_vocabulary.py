"""Measures how long reading the vocabulary and making all lists take, beside the model's own forward and the plain way.

    python -m tests.bench.bench_vocabulary [--subject demo|smollm2]

The bare forward is the model as transformers makes it, on the same pairs of tokens, up to the SAE's hook. The plain way
sorts every pre-activation of one feature at a time.
"""

import argparse
import time
from collections.abc import Callable

import psutil
import torch

from agent.log.rows import now
from agent.log.runs import versions
from probes.ghost.token_states import _made, readable_ids, token_states
from probes.ghost.vocabulary import alone, leading_tokens
from probes.hooks.activations import cut_at
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from probes.tokenizer.special_tokens import start_id

TOP = 100
PLAIN = 20
"""Lists made the plain way."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--subject", default="demo")
    subject = load_subject(SubjectSource(name=parser.parse_args().subject, device="cpu"))
    n = len(readable_ids(subject))
    print(f"{now()} {versions()}\n{subject.card.name}: {n:,} tokens, {subject.card.n_features:,} features")
    before = psutil.Process().memory_info().rss
    ours, bare = timed(lambda: _made([subject], None)), timed(lambda: forward(subject))
    more = (psutil.Process().memory_info().rss - before) / 2**20
    print(f"pass   {ours:.1f} s, bare forward {bare:.1f} s: {ours / bare:.2f} of it; memory {more:+.0f} MiB after both")
    token_states(subject)
    columns = subject.sae.encoder
    lists = timed(lambda: leading_tokens(subject, columns, TOP)) / columns.shape[1]
    plain = timed(lambda: [alone(subject, feature).sort() for feature in range(PLAIN)]) / PLAIN
    print(f"lists  {1000 * lists:.2f} ms each, the plain way {1000 * plain:.2f} ms: {plain / lists:.0f} times")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def forward(subject: Subject) -> None:
    """Returns what the pass costs at least."""
    ids = torch.tensor(readable_ids(subject))
    start = start_id(subject.tokenizer)
    with cut_at(subject.model, subject.sae.config.hook) as stream:
        for part in ids.split(2048):
            stream(torch.stack([torch.full_like(part, start or 0), part], dim=1))


if __name__ == "__main__":
    main()
