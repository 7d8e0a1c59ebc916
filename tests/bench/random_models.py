"""Gemmas of any size with random weights whose next-token distributions are about as peaked as language's.

A final norm with a large gain makes them peaked; its random signs keep a tied head from copying its last token.
"""

from dataclasses import dataclass

import torch
from transformers import GemmaConfig, GemmaForCausalLM

TOP_1 = 0.36
"""Mean probability of the likeliest next token, about what language models have on plain text; a tree at cutoff 5e-5
then has some 1,500 nodes at 8M weights."""
_SAMPLE = 256


@dataclass(frozen=True)
class Size:
    """The sizes that decide how much work a token is."""

    vocab: int
    d_model: int
    n_layers: int
    n_heads: int
    d_mlp: int

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
        """Multiplications and additions of one token's forward; attention's own products are left out."""
        return 2 * self.n_weights


SIZES = {
    "8M": Size(vocab=8192, d_model=256, n_layers=6, n_heads=4, d_mlp=1024),
    "46M": Size(vocab=32000, d_model=512, n_layers=8, n_heads=4, d_mlp=2048),
    "2B": Size(vocab=256_000, d_model=2048, n_layers=18, n_heads=8, d_mlp=16384),
}
"""By their number of weights; the last is Gemma-2B."""


def random_gemma(
    size: Size, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0
) -> GemmaForCausalLM:
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
        model = GemmaForCausalLM(config)
    model = model.requires_grad_(False).eval()
    signs = torch.randint(0, 2, (size.d_model,), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    with torch.inference_mode():
        gain = _gain(model, signs.to(device), size.vocab)
    with torch.no_grad():
        model.model.norm.weight.copy_(gain * signs - 1)
    return model.to(dtype)


def _gain(model: GemmaForCausalLM, signs: torch.Tensor, vocab: int) -> float:
    """That at which the likeliest token after random ones has a mean probability of `TOP_1`; found by halving."""
    ids = torch.randint(0, vocab, (_SAMPLE, 4), generator=torch.Generator().manual_seed(0)).to(model.device)
    states = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, -1] * signs
    logits = model.lm_head(states)
    low, high = 0.0, 1000.0
    for _ in range(30):
        middle = (low + high) / 2
        top = (logits * middle).softmax(dim=-1).amax(dim=-1).mean()
        low, high = (middle, high) if top < TOP_1 else (low, middle)
    return low
