"""How a norm acts is found out on the norm itself, however it stores its gain."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo.modeling_olmo import OlmoLayerNorm

from probes.hooks.norms import norm_of

WIDTH = 32


def drawn(norm: nn.Module) -> nn.Module:
    """With a gain and a bias of its own."""
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(0.3 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(1)))
    return norm


NORMS: dict[str, tuple[Callable[[], nn.Module], bool, float]] = {
    "LayerNorm": (lambda: nn.LayerNorm(WIDTH), True, 1e-5),
    "RMSNorm": (lambda: LlamaRMSNorm(WIDTH, eps=1e-6), False, 1e-6),
    "stored less 1": (lambda: GemmaRMSNorm(WIDTH, eps=1e-6), False, 1e-6),
    "without weights": (lambda: OlmoLayerNorm(WIDTH), True, 1e-5),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("size", [1e-3, 5.0])
def test_a_norm_is_its_gain_on_what_is_bare(name: str, size: float) -> None:
    make, centres, epsilon = NORMS[name]
    module, x = drawn(make()), size * torch.randn(6, WIDTH)
    norm = norm_of(module, x)
    torch.testing.assert_close(norm.bare(x) * norm.gain + norm.shift, module(x), rtol=1e-4, atol=1e-4)
    assert norm.centres == centres
    assert norm.epsilon == pytest.approx(epsilon, rel=1e-2)
    centred = x - x.mean(1, keepdim=True) if centres else x
    assert_along(norm.back(norm.forth(x)), centred)


def assert_along(found: Tensor, expected: Tensor) -> None:
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(found, dim=1), unit(expected, dim=1), rtol=1e-4, atol=1e-4)


def test_where_a_gain_is_0_nothing_becomes_a_direction() -> None:
    module = nn.LayerNorm(4)
    module.weight = nn.Parameter(torch.tensor([1.0, 0.0, -2.0, 1.0]))
    assert norm_of(module, torch.zeros(1, 4)).back(torch.ones(1, 4)).isfinite().all()
