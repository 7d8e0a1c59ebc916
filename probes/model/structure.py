"""Finds the parts of any decoder-only transformer from its modules, not from a table of families."""

from torch import Tensor, nn
from transformers import PreTrainedModel

from probes.errors import SubjectError


def n_layers(model: PreTrainedModel) -> int:
    """Number of decoder layers."""
    return int(model.config.get_text_config(decoder=True).num_hidden_layers)


def d_model(model: PreTrainedModel) -> int:
    """Width of the residual stream."""
    return int(model.config.get_text_config(decoder=True).hidden_size)


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder layers in order: the first list of blocks with as many entries as the configuration has layers."""
    return _stack(model)[1]


def final_norm_of(model: PreTrainedModel) -> nn.Module:
    """The norm before the unembedding: the last one beside the layers that is as wide as they, or the identity."""
    stack, _ = _stack(model)
    norms = [child for child in stack.children() if "norm" in type(child).__name__.lower()]
    wide = [norm for norm in norms if _width(norm) in (None, d_model(model))]
    return wide[-1] if wide else nn.Identity()


def _width(norm: nn.Module) -> int | None:
    """Dimensions that a norm weighs; None where it weighs none."""
    weight = getattr(norm, "weight", None)
    return weight.shape[-1] if isinstance(weight, Tensor) else None


def _stack(model: PreTrainedModel) -> tuple[nn.Module, nn.ModuleList]:
    """The module that holds the decoder layers, and their list; in a model that also sees, those that read text."""
    for module in model.get_decoder().modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) == n_layers(model) and any(child[0].children()):
                return module, child
    raise SubjectError(f"No list of {n_layers(model)} decoder layers was found in a {type(model).__name__}.")


def max_positions(model: PreTrainedModel) -> int | None:
    """Returns the most tokens that a model reads at once; None if its configuration sets no bound."""
    found: int | None = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return found or None
