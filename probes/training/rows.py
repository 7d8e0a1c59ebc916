"""Documents as rows of token ids, and what a model has at several hooks on them: what an SAE is trained on.

Each row is part of one document, behind the token that stands first; short rows are padded on the right, which a causal
model's states do not depend on.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from rich.progress import track
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probes.hooks.activations import cut_at_last
from probes.sae_config import Hook

BATCH_TOKENS = 8192
"""Tokens in one forward, about."""


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids, the longest first, and which of their positions hold text."""

    ids: Int[Tensor, "rows pos"]
    is_text: Bool[Tensor, "rows pos"]
    """Neither what stands first nor padding."""

    def batches(self) -> Iterator["TokenRows"]:
        """A bounded number of tokens at a time, without the columns that are padding in all of a batch's rows."""
        lengths = self.is_text.sum(1) + 1
        start = 0
        while start < len(self.ids):
            width = int(lengths[start])
            end = start + max(1, BATCH_TOKENS // width)
            yield TokenRows(self.ids[start:end, :width], self.is_text[start:end, :width])
            start = end


def read_documents(corpus: Path, text_key: str = "text") -> list[str]:
    """The texts of a JSONL file, gzipped or not, in its order."""
    with (gzip.open if corpus.suffix == ".gz" else open)(corpus, "rt", encoding="utf-8") as lines:
        return [json.loads(line)[text_key] for line in lines]


def rows_of(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, first: int, context: int, n_tokens: int
) -> TokenRows:
    """Rows of at most `context` tokens, the `first` included, until they hold `n_tokens` of text."""
    pieces: list[list[int]] = []
    left = n_tokens
    for document in documents:
        ids = tokenizer.encode(document, add_special_tokens=False)[: max(left, 0)]
        left -= len(ids)
        pieces += [ids[start : start + context - 1] for start in range(0, len(ids), context - 1)]
        if left <= 0:
            break
    pieces.sort(key=len, reverse=True)
    table = torch.full((len(pieces), context), first)
    for row, piece in zip(table, pieces, strict=True):
        row[1 : len(piece) + 1] = torch.tensor(piece)
    lengths = torch.tensor([len(piece) for piece in pieces])
    places = torch.arange(context)
    return TokenRows(table, (places > 0) & (places <= lengths[:, None]))


@torch.inference_mode()
def activations_at(
    model: PreTrainedModel, rows: TokenRows, hooks: Sequence[Hook], dtype: torch.dtype = torch.float16
) -> dict[Hook, Float[Tensor, "n d_model"]]:
    """Returns the model's states at each hook on every position that holds text, by one pass up to the last of them."""
    kept: dict[Hook, list[Tensor]] = {hook: [] for hook in hooks}
    with cut_at_last(model, hooks) as streams:
        for batch in track([*rows.batches()], "activations"):
            for hook, states in zip(hooks, streams(batch.ids), strict=True):
                kept[hook].append(states[batch.is_text].to(dtype))
    return {hook: torch.cat(parts) for hook, parts in kept.items()}
