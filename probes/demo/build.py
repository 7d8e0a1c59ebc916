"""Rebuilds the embedded subject from a seed: `python -m probes.demo.build`, in about an hour on 2 CPU cores.

Text, tokenizer and model; SAEs at several layers, of which the one that reads out best on a development half of the
concepts is kept; then the card, measured on the weights as they ship. The order is the recipe.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from probes.demo.card import DemoCard, write_card
from probes.demo.ladder import climb, readings
from probes.demo.model import ModelRecipe, train_model
from probes.demo.shipped import FOLDER
from probes.demo.text import DocumentWriter
from probes.demo.tokens import PLACEHOLDER, Corpus, CorpusMaker, train_tokenizer
from probes.demo.truth import FeatureTruth, feature_truths, half, mark, positive_activations
from probes.demo.world import World, load_world
from probes.presets import SubjectSource
from probes.sae_config import Hook
from probes.subject import Subject, load_subject
from probes.training.measures import measure, residuals
from probes.training.sparse import SparseRecipe, save_sparse, train_sparse

TOKENIZER_DOCUMENTS = 60_000
TOKENIZER_SEED, SAE_SEED, CHOICE_SEED, REPORT_SEED, HALVES_SEED = 1, 2, 3, 4, 5
"""Seeds of texts that must differ; the model's own is in its recipe."""
LAYERS = (0, 1, 2)
CONTENT_SHARE = 0.9
"""Of the SAE's training activations, those at words of the world. Unbalanced, it spends itself on function words."""
SAE_ROWS = 24_000
EVALUATION_ROWS = 12_000


@dataclass(frozen=True)
class LayerCandidate:
    """An SAE at one layer and how many development features it reads out right."""

    folder: Path
    layer: int
    n_read: int


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=FOLDER, show_default=True, help="Where the subject goes."
)
@click.option("--keep-model", is_flag=True, help="Train no model: use the one already there.")
def build(out: Path, keep_model: bool) -> None:
    """Builds the embedded subject."""
    world = load_world()
    if not keep_model:
        _build_model(out, world)
    with TemporaryDirectory() as folder:
        best = max(_candidates(out, world, Path(folder)), key=lambda candidate: candidate.n_read)
        click.echo(f"layer {best.layer} reads out best")
        (out / "sae").mkdir(exist_ok=True)
        for path in best.folder.iterdir():
            (out / "sae" / path.name).write_bytes(path.read_bytes())
    _build_card(out, world)


def _build_model(out: Path, world: World) -> None:
    recipe = ModelRecipe()
    tokenizer = train_tokenizer(_tokenizer_texts(world), recipe.vocab)
    model = train_model(recipe, world, tokenizer)
    model.to(torch.bfloat16).save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    placeholder = tokenizer.convert_tokens_to_ids(PLACEHOLDER)
    (out / "subject.json").write_text(json.dumps({"placeholder_id": placeholder}) + "\n", "utf-8")


def _tokenizer_texts(world: World) -> Iterator[str]:
    """Documents, and every word of the world that occurs in one again by itself: rare in the texts, its form without a
    space would seldom become one token."""
    for document in islice(DocumentWriter(world, TOKENIZER_SEED).documents(), TOKENIZER_DOCUMENTS):
        yield document.text
        yield from (document.text[mark.start : mark.end] for mark in document.marks)


def _candidates(out: Path, world: World, folder: Path) -> Iterator[LayerCandidate]:
    """One trained SAE per layer, judged on texts that are used for nothing else."""
    model, tokenizer = _load_model(out / "model")
    training = _corpus(world, tokenizer, SAE_SEED, SAE_ROWS)
    choice = _corpus(world, tokenizer, CHOICE_SEED, EVALUATION_ROWS)
    for layer in LAYERS:
        activations = residuals(model, _ids(training), Hook(layer, "post"))
        weights = train_sparse(SparseRecipe(), _balanced(activations, training))
        save_sparse(weights, folder / str(layer), layer, "sae-interpret/demo")
        subject = _load(out / "model", folder / str(layer))
        truths = _truths(subject, world, choice, residuals(model, _ids(choice), Hook(layer, "post")))
        known = [t for t in truths if t.known and t.concept in development_half(world)]
        best = max(readings(subject, world, known), key=lambda reading: reading.share.k)
        click.echo(f"layer {layer}: {best.share} of {best.share.n} development features ({best.weights}, {best.scale})")
        yield LayerCandidate(folder / str(layer), layer, best.share.k)


def development_half(world: World) -> frozenset[str]:
    """The concepts on which anything may be chosen."""
    names = np.random.default_rng(HALVES_SEED).permutation(list(world.concepts)).tolist()
    return frozenset(names[: len(names) // 2])


def _build_card(out: Path, world: World) -> None:
    subject = _load(out / "model", out / "sae")
    corpus = _corpus(world, subject.tokenizer, REPORT_SEED, EVALUATION_ROWS)
    x = residuals(subject.model, _ids(corpus), subject.sae.config.hook)
    truths = _truths(subject, world, corpus, x)
    ladder = climb(subject, world, truths, development_half(world))
    write_card(out, DemoCard(_facts(subject, world), measure(subject, _ids(corpus), x), ladder, truths), world)


def _truths(subject: Subject, world: World, corpus: Corpus, x: Float[Tensor, "rows pos d_model"]) -> list[FeatureTruth]:
    marked = mark(corpus, world, positive_activations(subject.sae, x[:, 1:].flatten(0, 1)))
    return feature_truths(half(marked, 0), half(marked, 1), world)


def _balanced(
    activations: Float[Tensor, "rows pos d_model"], corpus: Corpus, seed: int = 0
) -> Float[Tensor, "n d_model"]:
    """All activations at words of the world and as many others as leave those their CONTENT_SHARE; `<bos>` left out."""
    content = torch.from_numpy(corpus.senses[:, 1:] >= 0).flatten()
    others = (~content).nonzero().flatten()
    n_others = round(int(content.sum()) * (1 / CONTENT_SHARE - 1))
    shuffled = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))]
    keep = torch.cat([content.nonzero().flatten(), shuffled[:n_others]])
    return activations[:, 1:].flatten(0, 1)[keep]


def _corpus(world: World, tokenizer: PreTrainedTokenizerBase, seed: int, rows: int) -> Corpus:
    return CorpusMaker(world, tokenizer, ModelRecipe().context, seed).take(rows)


def _ids(corpus: Corpus) -> Int[Tensor, "rows pos"]:
    return torch.from_numpy(corpus.ids).long()


def _load_model(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model as it ships: rounded, computing in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def _load(model: Path, sae: Path) -> Subject:
    return load_subject(SubjectSource(name=None, model=str(model), sae=str(sae), device="cpu"))


def _facts(subject: Subject, world: World) -> dict[str, str]:
    recipe, sparse = ModelRecipe(), SparseRecipe()
    words, undefined = world.concepts_of_word, world.undefined_words()
    forms = [{len(subject.tokenizer.encode(f, add_special_tokens=False)) for f in (w, f" {w}")} for w in words]
    parameters = sum(p.numel() for p in subject.model.parameters())
    return {
        "world": f"{len(words):,} words in {len(world.concepts)} concepts, {len(undefined)} of them never defined",
        "tokenizer": f"byte-level BPE of {recipe.vocab:,} tokens; {sum(form == {1} for form in forms):,} words are "
        "one token both with a space before them and without",
        "model": f"Gemma, {parameters / 1e6:.2f} million parameters, {recipe.n_layers} layers of {recipe.d_model} "
        f"dimensions, {recipe.steps * recipe.rows * recipe.context / 1e6:.1f} million tokens of fresh text, "
        f"seed {recipe.seed}",
        "SAE": f"{sparse.n_features} features at {subject.card.hook}; Matryoshka BatchTopK, prefixes "
        f"{sparse.prefixes}, k = {sparse.k}, saved as JumpReLU",
        "what the SAE saw": f"{SAE_ROWS:,} rows of {recipe.context} tokens, balanced: words of the world are "
        f"{CONTENT_SHARE:.0%} of the activations it was trained on, `<bos>` none",
        "default scale": f"{subject.card.default_scale:.4f}, the mean distance of embedding rows from their centroid",
    }


if __name__ == "__main__":
    build()
