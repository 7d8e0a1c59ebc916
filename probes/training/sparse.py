"""Trains a sparse autoencoder: Matryoshka BatchTopK, saved as JumpReLU in SAELens' folder format.

BatchTopK: Bussmann, Leask, Nanda 2024 (arXiv 2412.06410). Matryoshka: Bussmann et al. 2025 (arXiv 2503.17547): each
prefix of the dictionary must reconstruct by itself, so that early features stay general, neither split nor absorbed.
Knows activations only: no text, concept or word reaches this file, save through the choice of activations.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

SAMPLE = 50_000
"""Activations, evenly spaced, on which size, mean and threshold are measured, about."""


@dataclass(frozen=True)
class SparseRecipe:
    """The autoencoder's shape and how it is trained."""

    n_features: int = 1536
    prefixes: tuple[int, ...] = (960, 1536)
    """Sizes of the nested dictionaries, the last being all."""
    k: int = 3
    """Features that activate per token, on average over a batch."""
    steps: int = 2500
    batch: int = 1024
    learning_rate: float = 1e-3
    aux_share: float = 1 / 32
    """Weight of the dead features' reconstruction of what is left over (Gao et al. 2024, arXiv 2406.04093)."""
    dead_after: int = 200
    """Steps without activating after which a feature counts as dead in training."""
    threshold_stride: int = 1
    """Of a batch, every how manieth token says which activations are kept; the search costs as much as a product."""
    bfloat16: bool = False
    """Whether matrix products are rounded to bfloat16, which some processors multiply twice as fast."""
    seed: int = 0


class MatryoshkaBatchTopK(nn.Module):
    """The autoencoder in training, on activations scaled to mean square 1 per dimension."""

    def __init__(self, d_model: int, recipe: SparseRecipe, mean: Float[Tensor, "d_model"]) -> None:
        super().__init__()
        self.recipe = recipe
        directions = nn.functional.normalize(torch.randn(recipe.n_features, d_model), dim=1)
        self.W_dec = nn.Parameter(directions)
        self.W_enc = nn.Parameter(directions.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(recipe.n_features))
        self.b_dec = nn.Parameter(mean.clone())
        self.idle = torch.zeros(recipe.n_features)

    def dense(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n n_features"]:
        """Activations before selection."""
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)

    def loss(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, ""]:
        """Mean over prefixes of the squared error, plus the dead features' auxiliary loss."""
        dense = self.dense(x)
        active = torch.where(dense >= self._least(dense.detach()), dense, 0)
        self.idle = torch.where((active > 0).any(0), 0, self.idle + 1)
        total, reconstruction, start = x.new_zeros(()), self.b_dec.expand_as(x), 0
        for end in self.recipe.prefixes:
            reconstruction = reconstruction + active[:, start:end] @ self.W_dec[start:end]
            total = total + (reconstruction - x).square().sum(1).mean()
            start = end
        return total / len(self.recipe.prefixes) + self._dead_loss(dense, (x - reconstruction).detach())

    def _least(self, dense: Float[Tensor, "n n_features"]) -> Float[Tensor, ""]:
        """The activation from which on a feature is kept, so that k are per token, as some of the tokens say."""
        some = dense[:: self.recipe.threshold_stride]
        return torch.topk(some.flatten(), self.recipe.k * len(some), sorted=False).values.min()

    def _dead_loss(self, dense: Float[Tensor, "n n_features"], rest: Float[Tensor, "n d_model"]) -> Float[Tensor, ""]:
        dead = (self.idle > self.recipe.dead_after).nonzero().flatten()
        if not len(dead):
            return rest.new_zeros(())
        top = torch.topk(dense[:, dead], min(len(dead), rest.shape[1] // 2), dim=1)
        guess = torch.zeros_like(dense[:, dead]).scatter(1, top.indices, top.values) @ self.W_dec[dead]
        return self.recipe.aux_share * (guess - rest).square().sum(1).mean()

    @torch.no_grad()
    def keep_decoder_unit(self) -> None:
        """Rows of the decoder at length 1: what moves is the direction."""
        self.W_dec.data = nn.functional.normalize(self.W_dec.data, dim=1)


@dataclass(frozen=True)
class SparseWeights:
    """A trained autoencoder in the units of the model's own residual stream, to be read as JumpReLU."""

    W_enc: Float[Tensor, "d_model n_features"]
    W_dec: Float[Tensor, "n_features d_model"]
    b_enc: Float[Tensor, "n_features"]
    b_dec: Float[Tensor, "d_model"]
    threshold: Float[Tensor, "n_features"]


def train_sparse(recipe: SparseRecipe, activations: Float[Tensor, "n d_model"]) -> SparseWeights:
    """Trains on the rows of `activations`, of any float dtype, drawn at random with replacement."""
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    sample = activations[:: max(1, len(activations) // SAMPLE)].float()
    scale = sample.square().mean().sqrt()
    model = MatryoshkaBatchTopK(activations.shape[1], recipe, sample.mean(0) / scale)
    optimizer = torch.optim.Adam(model.parameters(), recipe.learning_rate, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 5 * (1 - step / recipe.steps)))
    for step in track(range(recipe.steps), "SAE"):
        x = activations[torch.randint(len(activations), (recipe.batch,), generator=generator)].float() / scale
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            loss = model.loss(x)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        model.keep_decoder_unit()
        if step % 500 == 0:
            n_dead = int((model.idle > recipe.dead_after).sum())
            print(f"step {step}: loss {loss.item():.3f}, {n_dead} features dead")
    return _finished(model, scale, sample)


@torch.no_grad()
def _finished(
    model: MatryoshkaBatchTopK, scale: Float[Tensor, ""], sample: Float[Tensor, "n d_model"]
) -> SparseWeights:
    """Weights in the residual stream's units, with the threshold at which k features activate per token on average."""
    kept = model.recipe.k * len(sample)
    largest = torch.empty(0)
    for part in sample.split(4096):
        candidates = torch.cat([largest, model.dense(part / scale).flatten()])
        largest = candidates.topk(min(kept, len(candidates)), sorted=False).values
    threshold = largest.min()
    return SparseWeights(
        W_enc=model.W_enc.detach().clone(),
        W_dec=model.W_dec.detach().clone(),
        b_enc=model.b_enc.detach() * scale,
        b_dec=model.b_dec.detach() * scale,
        threshold=(threshold * scale).expand(model.recipe.n_features).clone(),
    )


def save_sparse(weights: SparseWeights, folder: Path, layer: int, model_name: str) -> None:
    """Writes `cfg.json` and `sae_weights.safetensors` as SAELens 6 does."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in vars(weights).items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {
        "architecture": "jumprelu",
        "d_in": weights.W_dec.shape[1],
        "d_sae": weights.W_dec.shape[0],
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": model_name,
            "hook_name": f"blocks.{layer}.hook_resid_post",
            "hook_head_index": None,
            "context_size": 128,
            "prepend_bos": True,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
