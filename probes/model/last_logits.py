"""Computes logits at the last positions alone, where the model can: at all of them they are its largest tensor."""

from inspect import signature

from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel


def last_logits(model: PreTrainedModel, ids: Int[Tensor, "n pos"], n_last: int = 1) -> Float[Tensor, "n n_last vocab"]:
    """Returns the logits after the last `n_last` of the ids."""
    keep = {"logits_to_keep": n_last} if "logits_to_keep" in signature(model.forward).parameters else {}
    found: Tensor = model(input_ids=ids, use_cache=False, **keep).logits[:, -n_last:]
    return found
