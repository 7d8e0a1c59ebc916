"""Does what a probe says of a real model's features lie near the tokens that they activate on?

    python -m tests.bench.real_readout CORPUS.jsonl [--sae FOLDER] [--opening TEXT] [--features 400] [--tokens 200000]
        [--prompts A,B] [--adapter WEIGHTS:FILE] [--only REGEX]

Features activate on texts of the corpus' last tenth, on which no SAE here was trained. What a probe says, a greedy
definition or the first ten words of a list, is embedded by all-MiniLM-L6-v2, and so are the ten tokens, each
another one, on which each feature activates most. The measure is the rank of the feature's own words among those of all
features by cosine, 1 for the nearest, .50 by chance, ties half; both kinds of vectors are centred over features first.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from agent.evidence.wording import folded
from agent.log.rows import now
from agent.log.runs import versions
from eval.embedders import SentenceEmbedder
from eval.metrics import Estimate, mean, paired_difference
from probes.activations import feature_activations
from probes.columns import Columns
from probes.defining import greedy_definitions
from probes.evidence import ProbeRequest, Projection, TokenList, Tree
from probes.ghost.random_directions import random_directions
from probes.ghost.vectors import feature_ghosts, placed
from probes.presets import PRESETS, SubjectSource
from probes.probe import run_probes
from probes.settings import GHOST_TOKENS, ProbeSettings, TokenSettings, TreeSettings, VectorSettings
from probes.subject import Subject, first_ids, load_subject
from probes.tokenizer.special_tokens import start_id
from probes.training.rows import read_documents, rows_of

Said = Sequence[str] | Sequence[Sequence[str]]
"""What is said of each feature: one text, or several."""
SEED = 11
WORDS = 10
"""Tokens that a feature's words are taken from, and of a list."""
LEAST_TOKENS = 10
"""On which a feature activates in the texts; with fewer it is left out."""
DENSE = 0.1
"""A feature that activates on more of the tokens is left out."""
GREEDY = {"top_k": 1, "cutoff": 1e-300, "max_depth": 12, "contrast": None}


def activating_words(subject: Subject, documents: Sequence[str], n_tokens: int) -> dict[int, list[str]]:
    """Of every feature active often enough and not everywhere, the tokens on which it is most active, in words."""
    start = start_id(subject.tokenizer)
    assert first_ids(subject) == [start]
    rows = rows_of(documents, subject.tokenizer, start, 128, n_tokens)
    columns = Columns(subject.sae, range(subject.card.n_features))
    best: list[dict[str, float]] = [{} for _ in range(subject.card.n_features)]
    counts = torch.zeros(subject.card.n_features)
    total = 0
    for batch in track([*rows.batches()], "texts", console=Console(stderr=True)):
        found = feature_activations(subject, columns, batch.ids)[batch.is_text]
        ids = batch.ids[batch.is_text]
        counts += (found > 0).sum(0)
        total += len(ids)
        top = found.topk(min(20, len(found)), dim=0)
        for feature in range(subject.card.n_features):
            for value, place in zip(top.values[:, feature].tolist(), top.indices[:, feature].tolist(), strict=True):
                if value > 0:
                    word = subject.text_of(int(ids[place])).strip()
                    best[feature][word] = max(best[feature].get(word, 0.0), value)
    return {
        feature: [word for word in sorted(words, key=lambda word: -words[word]) if word][:WORDS]
        for feature, words in enumerate(best)
        if counts[feature] >= LEAST_TOKENS and counts[feature] < DENSE * total and any(words)
    }


def ranks(
    said: Float[np.ndarray, "n d"], activated: Float[np.ndarray, "n d"], alive: Sequence[bool]
) -> Float[np.ndarray, " n"]:
    """Each feature's percentile; .5 where nothing was said."""
    a, b = (_unit(x - x.mean(0)) for x in (said, activated))
    cosines = a @ b.T
    own = np.diag(cosines)[:, None]
    others = (cosines < own).sum(1) + ((cosines == own).sum(1) - 1) / 2
    return np.where(alive, others / (len(activated) - 1), 0.5)


def _unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def definition(tree: Tree) -> str:
    """A greedy tree's text up to the closing quote."""
    text = "".join(tree.texts[id] for id in tree.token_ids[1:])
    return text.partition('"')[0].partition("\n")[0].strip()


def said_by_trees(subject: Subject, features: Sequence[int], vector: VectorSettings, prompt: str) -> list[str]:
    settings = ProbeSettings(vector=vector, tree=TreeSettings.parse({**GREEDY, "prompt": prompt}))
    return [definition(tree) for tree in _probed(subject, "tree", features, settings) if isinstance(tree, Tree)]


def said_of_words(subject: Subject, features: Sequence[int], vector: VectorSettings, prompt: str) -> list[list[str]]:
    """The greedy definition of each word's ghost, whose trees a tree of words is the mean of."""
    ghosts = feature_ghosts(subject, features, vector)
    alive = ghosts.any(dim=-1)
    texts = iter(greedy_of(subject, ghosts[alive] * subject.input_scale, prompt))
    return [[text for text in islice(texts, n) if text] for n in alive.sum(dim=1).tolist()]


def said_by_lists(subject: Subject, features: Sequence[int], vector: VectorSettings) -> list[list[str]]:
    settings = ProbeSettings(vector=vector, tokens=TokenSettings(top_n=40))
    lists = [found for found in _probed(subject, "tokens", features, settings) if isinstance(found, TokenList)]
    return [[token.token.strip() for token in folded(found.tokens)][:WORDS] for found in lists]


def said_by_projections(subject: Subject, features: Sequence[int]) -> list[list[str]]:
    found = _probed(subject, "projection", features, ProbeSettings())
    return [[token.token.strip() for token in folded(of.top)][:WORDS] for of in found if isinstance(of, Projection)]


def _probed(subject: Subject, kind: str, features: Sequence[int], settings: ProbeSettings) -> list[object]:
    found: list[object] = []
    for start in track(range(0, len(features), 100), kind, console=Console(stderr=True)):
        some = features[start : start + 100]
        found += run_probes(subject, [ProbeRequest(kind, feature, settings) for feature in some])  # type: ignore[arg-type]
    return found


class Words:
    """Vectors of words and sentences, each made once."""

    def __init__(self) -> None:
        self._embedder = SentenceEmbedder("minilm")
        self._known: dict[str, Float[np.ndarray, " d"]] = {}

    def of(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        lacking = [text for text in dict.fromkeys(texts) if text not in self._known]
        if lacking:
            self._known |= zip(lacking, self._embedder.encode(lacking), strict=True)
        return np.stack([self._known[text] for text in texts])

    def said(self, of_features: Said) -> Float[np.ndarray, "n d"]:
        """The vector of what is said of each feature; of several texts the mean."""
        return self.means([[one] if isinstance(one, str) else one for one in of_features])

    def means(self, lists: Sequence[Sequence[str]]) -> Float[np.ndarray, "n d"]:
        return np.stack([self.of(words).mean(0) if words else np.zeros(384) for words in lists])


def row(name: str, values: Float[np.ndarray, " n"], single: Float[np.ndarray, " n"] | None) -> str:
    """Mean with its interval, the share in the top twentieth, and the paired difference from the control."""
    found: Estimate = mean(values.tolist(), seed=SEED)
    top = float((values > 0.95).mean())
    ahead = ""
    if single is not None and single is not values:
        gain = paired_difference(values.tolist(), single.tolist(), SEED)
        ahead = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
    return f"| {name} | {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] | {top:.2f} | {ahead} |"


def single_rows(subject: Subject, features: Sequence[int], prompt: str) -> list[str]:
    """The control: a definition of the one token that activates the feature most, from its own embedding row."""
    lists = said_ids(subject, features)
    rows = subject.embedding[torch.tensor(lists)] * subject.input_scale
    return greedy_of(subject, rows, prompt)


def said_ids(subject: Subject, features: Sequence[int]) -> list[int]:
    settings = ProbeSettings(vector=VectorSettings(weights="vocabulary"), tokens=TokenSettings(top_n=1))
    found = _probed(subject, "tokens", features, settings)
    return [of.tokens[0].token_id for of in found if isinstance(of, TokenList)]


def greedy_of(subject: Subject, vectors: torch.Tensor, prompt: str) -> list[str]:
    return [*greedy_definitions(subject, vectors, TreeSettings(prompt=prompt))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--sae", help="another SAE of smollm2 than the one that ships")
    parser.add_argument("--opening", default=PRESETS["smollm2"].opening, help="before a token that is read alone")
    parser.add_argument("--features", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--prompts", default="definition,word-means,chat-few,chat-category")
    parser.add_argument("--ghost-tokens", default=str(GHOST_TOKENS))
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="WEIGHTS:FILE", help="fitted for these weights"
    )
    parser.add_argument("--only", default="", metavar="REGEX", help="of the kinds of evidence")
    asked = parser.parse_args()
    named = {"name": None, "model": PRESETS["smollm2"].model, "sae": asked.sae} if asked.sae else {"name": "smollm2"}
    subject = load_subject(SubjectSource.parse({**named, "opening": asked.opening}))
    documents = read_documents(asked.corpus)
    words = activating_words(subject, documents[len(documents) * 9 // 10 :], asked.tokens)
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(SEED)).tolist()
    features = sorted([[*words][place] for place in order][: asked.features])
    vectors = Words()
    activated = vectors.means([words[feature] for feature in features])
    print(f"{now()} {versions()}\n{subject.card.name}, {subject.card.hook}: {len(features)} of {len(words)} features")
    print("\n| evidence | mean rank percentile | top 5 % | ahead of the single token |\n|---|---|---|---|")
    single: dict[str, Float[np.ndarray, " n"]] = {}
    for name, says in evidence(subject, features, asked).items():
        if not re.search(asked.only, name):
            continue
        said = says()
        found, prompt = ranks(vectors.said(said), activated, [bool(one) for one in said]), name.rpartition(", ")[2]
        if name.startswith("single"):
            single[prompt] = found
        print(row(name, found, single.get(prompt)), flush=True)


def evidence(subject: Subject, features: Sequence[int], asked: argparse.Namespace) -> Mapping[str, Callable[[], Said]]:
    """Returns what finds out what every probe says, by its name."""
    vocabulary, prompts = VectorSettings(weights="vocabulary"), asked.prompts.split(",")
    found: dict[str, Callable[[], Said]] = {"list, vocabulary": partial(said_by_lists, subject, features, vocabulary)}
    for prompt in prompts:
        found[f"single token, {prompt}"] = partial(single_rows, subject, features, prompt)
        for k in map(int, asked.ghost_tokens.split(",")):
            one = vocabulary.model_copy(update={"ghost_tokens": k})
            each = one.model_copy(update={"weights": "words"})
            found[f"tree, {k} words, {prompt}"] = partial(said_of_words, subject, features, each, prompt)
            found[f"tree, vocabulary of {k}, {prompt}"] = partial(said_by_trees, subject, features, one, prompt)
    for given in asked.adapter:
        side, _, file = given.partition(":")
        vector = VectorSettings.parse({"weights": side, "adapter": file})
        found[f"tree, {side}, adapter, {prompts[0]}"] = partial(said_by_trees, subject, features, vector, prompts[0])
    for side in ("encoder", "decoder"):
        vector = VectorSettings(weights=side)
        found[f"list, {side}"] = partial(said_by_lists, subject, features, vector)
        found[f"tree, {side}, {prompts[0]}"] = partial(said_by_trees, subject, features, vector, prompts[0])
    drawn = random_directions(subject.card.d_model, len(features), SEED).to(subject.embedding.device)
    ghosts = placed(subject, drawn, VectorSettings(weights="encoder")) * subject.input_scale
    found[f"tree, random directions, {prompts[0]}"] = partial(greedy_of, subject, ghosts, prompts[0])
    found["projection"] = partial(said_by_projections, subject, features)
    return found


if __name__ == "__main__":
    main()
