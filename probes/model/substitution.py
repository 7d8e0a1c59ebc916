"""A vector in a token's place: put there at the output of the model's own input embedding, weights untouched.

Some models (Gemma 3n and 4) look a token's id up a second time, in a table that feeds every layer; what stands there
for a ghost, which has no id, is a choice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from probes.errors import SubjectError

_SAMPLE = 64
_IDS = (5, 3, 7, 4)
"""Of the watched forward: any ids that are not positions too."""


@contextmanager
def ghosts_at(position: int, vectors: Float[Tensor, "batch d_model"], embedding: nn.Module) -> Iterator[None]:
    """While it lasts, sequence i that goes through `embedding` has `vectors[i]` at `position`, whatever its token.

    `vectors` are scaled as the module's output is: stored rows times `input_scale(embedding)`.
    """
    with _replaced(embedding, position, vectors):
        yield


@contextmanager
def rows_at(position: int, tables: Sequence[nn.Module], id: int | None) -> Iterator[None]:
    """While it lasts, what goes through the `tables` has token `id`'s rows at `position`, or zeros for None."""
    with ExitStack() as stack:
        for table in tables:
            stack.enter_context(_replaced(table, position, _row(table, id)))
        yield


@contextmanager
def _replaced(module: nn.Module, position: int, rows: Tensor) -> Iterator[None]:
    def substitute(_module: nn.Module, _args: tuple[Any, ...], output: Tensor) -> Tensor:
        output = output.clone()  # should it be a view of the weights, they stay as they are
        output[:, position] = rows.to(output)
        return output

    handle = module.register_forward_hook(substitute)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def _row(table: nn.Module, id: int | None) -> Float[Tensor, " width"]:
    """Returns the table's row of the token; zeros for none."""
    assert isinstance(table.weight, Tensor)
    row: Tensor = table(torch.tensor([id or 0], device=table.weight.device))[0]
    return torch.zeros_like(row) if id is None else row


@torch.inference_mode()
def other_tables(model: PreTrainedModel) -> tuple[nn.Embedding, ...]:
    """The tables beside the input embedding that `model` looks token ids up in, seen in a short forward."""
    ids, embedder = torch.tensor([_IDS], device=model.device), model.get_input_embeddings()
    found: list[nn.Embedding] = []

    def note(module: nn.Embedding) -> Callable[..., None]:
        def see(_module: nn.Module, args: tuple[Any, ...], _output: Any) -> None:
            if args and isinstance(args[0], Tensor) and args[0].tolist() == ids.tolist() and module not in found:
                found.append(module)

        return see

    tables = (module for module in model.modules() if isinstance(module, nn.Embedding) and module is not embedder)
    handles = [table.register_forward_hook(note(table)) for table in tables]
    try:
        if handles:
            model.base_model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(found)


@torch.inference_mode()
def input_scale(embedding: nn.Module) -> float:
    """Returns the factor of the module's stored rows: sqrt(d_model) in Gemma, 1 in most.

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
