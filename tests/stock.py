"""A model as transformers makes it, to measure what is made of it here against."""

import copy

from transformers import PreTrainedModel

from probes.model import products


def stock(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose linear layers are PyTorch's own."""
    twin = copy.deepcopy(model)
    own = {faster: plain for plain, faster in products._FASTER.items()}
    for module in twin.modules():
        module.__class__ = own.get(type(module), type(module))
    return twin
