"""Measures what multiplying by oneDNN gains on this processor: trees of a subject with it and without, in turns.

python -m tests.bench.products [--subject demo|smollm2] [--features 64] [--turns 3] [--cutoff 0.005]
"""

import argparse
import time
from statistics import median

import torch

from probes.ghost.base_prompt import all_resolved
from probes.ghost.vectors import feature_vectors
from probes.growing.growth import Grower
from probes.growing.tree_columns import TreeColumns
from probes.model import products
from probes.presets import SubjectSource
from probes.settings import ProbeSettings
from probes.subject import Subject, load_subject
from probes.tokenizer.prompt import prompt_ids, prompt_text


def main() -> None:
    """Prints nodes a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", default="demo")
    parser.add_argument("--features", default=64, type=int)
    parser.add_argument("--turns", default=3, type=int)
    parser.add_argument("--cutoff", default=0.005, type=float)
    given = parser.parse_args()
    subject = load_subject(SubjectSource(name=given.subject, device="cpu"))
    print(f"{products.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, {subject.card.name}")
    rates: dict[bool, list[float]] = {True: [], False: []}
    trees: dict[bool, list[TreeColumns]] = {}
    for _ in range(given.turns):
        for wanted in rates:
            products._WANTED = wanted
            begun = time.process_time()
            trees[wanted] = grown(subject, given.features, given.cutoff)
            nodes = sum(len(tree.parents) for tree in trees[wanted])
            rates[wanted].append(nodes / (time.process_time() - begun))
    gains = sorted(own / other for own, other in zip(rates[True], rates[False], strict=True))
    print(f"nodes a CPU second: with {median(rates[True]):,.0f}, without {median(rates[False]):,.0f}")
    print(f"gain {median(gains):.2f} times ({gains[0]:.2f} to {gains[-1]:.2f})")
    pairs = zip(trees[True], trees[False], strict=True)
    differ = sum(one.token_ids != other.token_ids for one, other in pairs)
    print(f"{differ} of {given.features} trees differ")


def grown(subject: Subject, n_features: int, cutoff: float) -> list[TreeColumns]:
    """Grows the trees of the first features' vocabulary vectors."""
    settings = all_resolved(
        subject, ProbeSettings.parse({"vector": {"weights": "vocabulary"}, "tree": {"cutoff": cutoff}})
    )
    prompt = prompt_ids(subject.tokenizer, prompt_text(subject.tokenizer, settings.tree), subject.card.placeholder_id)
    vectors = feature_vectors(subject, range(n_features), settings.vector) * subject.input_scale
    return [*Grower(subject, prompt, settings.tree).grow(vectors)]


if __name__ == "__main__":
    main()
