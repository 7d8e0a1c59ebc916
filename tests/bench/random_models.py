"""Gemmas of any size with random weights whose next-token distributions are about as peaked as language's.

A final norm with a large gain makes them peaked; its random signs keep a tied head from copying its last token.
"""

from dataclasses import dataclass

import torch
from transformers import GemmaConfig, GemmaForCausalLM


@dataclass(frozen=True)
class Size:
    """What decides how much work a token is."""

    vocab: int
    d_model: int
    n_layers: int
    n_heads: int
    d_mlp: int
    gain: float
    """Of the final norm; set so that a tree at cutoff 5e-5 has some 1,500 nodes."""

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    @property
    def n_weights(self) -> int:
        """Weights that a token is multiplied by: all matrices, the unembedding among them, once."""
        attention = self.d_model * self.d_head * (2 * self.n_heads + 2)
        return self.n_layers * (attention + 3 * self.d_model * self.d_mlp) + self.vocab * self.d_model

    @property
    def flop_per_node(self) -> int:
        """Multiplications and additions of one token's forward, attention's own products left out."""
        return 2 * self.n_weights


SIZES = {
    "8M": Size(vocab=8192, d_model=256, n_layers=6, n_heads=4, d_mlp=1024, gain=6.0),
    "46M": Size(vocab=32000, d_model=512, n_layers=8, n_heads=8, d_mlp=2048, gain=6.0),
    "2B": Size(vocab=256_000, d_model=2048, n_layers=18, n_heads=8, d_mlp=16384, gain=6.0),
}


def random_gemma(size: Size, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0) -> GemmaForCausalLM:
    """A Gemma of this size, the same for the same seed on the same kind of device."""
    config = GemmaConfig(
        vocab_size=size.vocab,
        hidden_size=size.d_model,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        num_key_value_heads=1,
        head_dim=size.d_head,
        intermediate_size=size.d_mlp,
        max_position_embeddings=512,
        pad_token_id=0,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        model = GemmaForCausalLM(config).to(dtype)
    signs = torch.randint(0, 2, (size.d_model,), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    with torch.no_grad():
        model.model.norm.weight.copy_(size.gain * signs - 1)
    return model.requires_grad_(False).eval()
