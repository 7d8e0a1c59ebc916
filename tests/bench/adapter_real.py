"""Does a fitted adapter, or a blend, make the vectors of a real model's features say more?

    python -m tests.bench.adapter_real CORPUS.jsonl [--weights decoder,encoder,vocabulary] [--features 400] [--steps 40]

The labels are words: of the tokens of texts on which a feature of smollm2 activates most, the first that is a word.
Half of the labels, with all their features, are held out; on the others an adapter is fitted for each of the weights.
Greedy definitions of the features held out are then measured as in real_readout, from the unfitted vector and from the
fitted one, paired, and beside them the blends of encoder and decoder.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console

from agent.cli.terminal.bars import bar
from probes.ghost.adapter import FitSettings
from probes.ghost.fitting import fit, split
from probes.ghost.label_loss import LabelPair
from probes.ghost.vectors import directions, placed
from probes.presets import SubjectSource
from probes.settings import VectorSettings
from probes.subject import Subject, load_subject
from probes.training.rows import read_documents
from tests.bench.real_readout import Said, Words, activating_words, greedy_of, ranks, row

SEED = 29
"""Another one than those of real_readout and other_readings."""
PROMPT = "chat-few"
WORDING = "{label}"
HELD_OUT = 0.5
WORD_CHARS = 3
BLENDS = ("blend:0.3", "blend:0.5", "blend:0.7")


def main() -> None:
    """Fits and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--weights", default="decoder,encoder,vocabulary")
    parser.add_argument("--features", default=400, type=int)
    parser.add_argument("--tokens", default=100_000, type=int)
    parser.add_argument("--steps", default=40, type=int)
    given = parser.parse_args()
    subject = load_subject(SubjectSource(name="smollm2"))
    documents = read_documents(given.corpus)
    words = activating_words(subject, documents[len(documents) * 9 // 10 :], given.tokens)
    pairs = labels_of(words, given.features)
    parts = split(pairs, HELD_OUT, SEED)
    features = [pair.feature for pair in parts.held_out]
    vectors = Words()
    activated = vectors.means([words[feature] for feature in features])
    n_fitted = len(parts.train) + len(parts.validation)
    print(f"{subject.card.name}: {n_fitted} features to fit on, {len(features)} held out")
    print("| vector | mean rank percentile | top 5 % | ahead of the unfitted |\n|---|---|---|---|")

    def measured(said: Said) -> Float[np.ndarray, " n"]:
        return ranks(vectors.said(said), activated, [bool(one) for one in said])

    for weights in given.weights.split(","):
        settings = FitSettings(weights=weights, prompt=PROMPT, wording=WORDING, steps=given.steps, seed=SEED)
        unfitted = measured(read_with(subject, features, weights))
        print(row(weights, unfitted, None), flush=True)
        with bar(Console(stderr=True), "steps", given.steps) as advance:
            fitted = fit(subject, parts, settings, advance)
        rows = fitted.scale * directions(subject, features, weights) + fitted.bias
        found = measured(greedy_of(subject, rows * subject.input_scale, PROMPT))
        print(row(f"{weights}, adapter of {fitted.steps} steps", found, unfitted), flush=True)
    for weights in BLENDS:
        print(row(weights, measured(read_with(subject, features, weights)), None), flush=True)


def labels_of(words: dict[int, list[str]], n: int) -> list[LabelPair]:
    """Returns a label for each of `n` features drawn at random, of those that have a word."""
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(SEED)).tolist()
    return [*_labels(words, [[*words][place] for place in order])][:n]


def _labels(words: dict[int, list[str]], features: Sequence[int]) -> Iterator[LabelPair]:
    for feature in features:
        word = next((one for one in words[feature] if one.isalpha() and len(one) >= WORD_CHARS), None)
        if word is not None:
            yield LabelPair(feature, word)


def read_with(subject: Subject, features: Sequence[int], weights: str) -> list[str]:
    """Returns the greedy definition of each feature's unfitted vector."""
    rows = placed(subject, directions(subject, features, weights), VectorSettings(weights=weights))
    return greedy_of(subject, rows * subject.input_scale, PROMPT)


if __name__ == "__main__":
    main()
