"""A vector in a token's place: put there at the output of the model's own input embedding, weights untouched.

Knows neither SAEs nor prompts.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from probes.errors import SubjectError

_SAMPLE = 64


@contextmanager
def ghosts_at(position: int, vectors: Float[Tensor, "batch d_model"], embedding: nn.Module) -> Iterator[None]:
    """While it lasts, sequence i that goes through `embedding` has `vectors[i]` at `position`, whatever its token.

    `vectors` are scaled as the module's output is: stored rows times `input_scale(embedding)`.
    """

    def substitute(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        output = output.clone()  # should it be a view of the weights, they stay as they are
        output[:, position] = vectors.to(output.dtype)
        return output

    handle = embedding.register_forward_hook(substitute)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def input_scale(embedding: nn.Module) -> float:
    """What the module multiplies its stored rows by: sqrt(d_model) in Gemma, 1 in most.

    Measured on the module's own forward over a sample of rows. Raises SubjectError where it does anything else to them.
    """
    weight = embedding.weight
    assert isinstance(weight, Tensor)
    ids = torch.linspace(0, len(weight) - 1, min(_SAMPLE, len(weight)), device=weight.device).round().long()
    rows, outputs = weight[ids], embedding(ids)
    exact, seen = rows.cpu().double(), outputs.cpu().double()
    measured = float((exact * seen).sum() / exact.square().sum())
    # Modules multiply in their own dtype, so the true factor is a number of that dtype wherever it fits exactly.
    rounded = torch.tensor(measured, dtype=weight.dtype).item()
    if torch.equal((rows * rounded).to(outputs.dtype), outputs):
        return rounded
    if torch.allclose(exact * measured, seen, rtol=1e-2, atol=1e-6):
        return measured
    raise SubjectError(f"The input embedding, a {type(embedding).__name__}, does more to its rows than scale them.")
