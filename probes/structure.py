"""Where things are in any decoder-only transformer: found from the modules themselves, not from a table of families."""

from torch import nn
from transformers import PreTrainedModel

from probes.errors import SubjectError


def n_layers(model: PreTrainedModel) -> int:
    """Number of decoder layers."""
    return int(model.config.get_text_config(decoder=True).num_hidden_layers)


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder layers in order: the first list of modules with as many entries as the configuration has layers."""
    return _stack(model)[1]


def final_norm_of(model: PreTrainedModel) -> nn.Module:
    """The norm between the last layer and the unembedding: the last norm beside the list of layers, or the identity."""
    stack, _ = _stack(model)
    norms = [child for child in stack.children() if "norm" in type(child).__name__.lower()]
    return norms[-1] if norms else nn.Identity()


def _stack(model: PreTrainedModel) -> tuple[nn.Module, nn.ModuleList]:
    """The module that holds the decoder layers, and their list."""
    for module in model.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) == n_layers(model):
                return module, child
    raise SubjectError(f"No list of {n_layers(model)} decoder layers was found in a {type(model).__name__}.")
