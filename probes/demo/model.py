"""Trains the demo's language model: a small Gemma on endless text about the world."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor, nn
from transformers import GemmaConfig, GemmaForCausalLM, PreTrainedTokenizerFast

from probes.demo.tokens import CorpusMaker
from probes.demo.world import World
from probes.training.measures import next_token_loss


@dataclass(frozen=True)
class ModelRecipe:
    """The model's shape and how it is trained."""

    vocab: int = 7168
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    d_mlp: int = 512
    context: int = 64
    rows: int = 32
    """Rows of a batch."""
    steps: int = 6600
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    noise: float = 0.5
    """In half of the batches, noise of up to this share of a row's length is added to the input embeddings: vectors
    that are no token's row, as a ghost's is, must be no surprise."""
    seed: int = 0


def train_model(recipe: ModelRecipe, world: World, tokenizer: PreTrainedTokenizerFast) -> GemmaForCausalLM:
    """The trained model, in float32 on the CPU; a GPU is used where there is one. No row of text is seen twice."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(recipe.seed)
    model = GemmaForCausalLM(_config(recipe, tokenizer)).to(device)
    corpus = CorpusMaker(world, tokenizer, recipe.context, recipe.seed)
    optimizer = torch.optim.AdamW(
        _groups(model, recipe.weight_decay), recipe.learning_rate, betas=(0.9, 0.95), fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.05, final_div_factor=100
    )
    for step in track(range(recipe.steps), "model"):
        ids = torch.from_numpy(corpus.take(recipe.rows).ids).long().to(device)
        level = recipe.noise * float(torch.rand(())) if step % 2 else 0.0
        with noisy_embeddings(model, level), torch.autocast(device, dtype=torch.bfloat16):
            loss = next_token_loss(model, ids)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
    return model.cpu().eval()


@contextmanager
def noisy_embeddings(model: GemmaForCausalLM, level: float) -> Iterator[None]:
    """Adds Gaussian noise of `level` times each embedding's own length while the block runs."""

    def disturb(_module: nn.Module, _inputs: object, rows: Float[Tensor, "rows pos d_model"]) -> Tensor:
        noise = torch.randn_like(rows) * rows.detach().square().mean(-1, keepdim=True).sqrt()
        return rows + level * noise

    handle = model.get_input_embeddings().register_forward_hook(disturb)
    try:
        yield
    finally:
        handle.remove()


def _config(recipe: ModelRecipe, tokenizer: PreTrainedTokenizerFast) -> GemmaConfig:
    return GemmaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=1,
        head_dim=recipe.d_model // recipe.n_heads,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _groups(model: GemmaForCausalLM, weight_decay: float) -> list[dict[str, object]]:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
