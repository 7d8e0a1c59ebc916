"""Linear layers by oneDNN: the same numbers, wherever it may be used and nowhere else."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from probes.model import products
from probes.model.loading import load_model
from probes.model.products import linear, use_onednn
from tests.stock import stock
from tests.subjects import write_model

WIDE = nn.Linear(48, 96).requires_grad_(False)
needs_onednn = pytest.mark.skipif(not products.is_available(), reason="this PyTorch has no oneDNN for it")


@pytest.fixture(autouse=True)
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor on which it is faster."""
    monkeypatch.setattr(products, "_WANTED", products.is_available())


def operators(work: object) -> set[str]:
    """Returns what PyTorch computes while `work` is called."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()  # type: ignore[operator]
    return {event.key for event in seen.key_averages()}


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9,), (31,), (33,), (96,), (600,), (3, 50), (0,), (2, 0), ()])
@torch.inference_mode()
def test_products_are_torch_s_own(shape: tuple[int, ...]) -> None:
    x = torch.randn(*shape, 48, generator=torch.Generator().manual_seed(0))
    for bias in (None, WIDE.bias):
        made = linear(x, WIDE.weight, bias)
        assert made.shape == (*shape, 96)
        torch.testing.assert_close(made, functional.linear(x, WIDE.weight, bias), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_what_is_multiplied_may_lie_in_any_order() -> None:
    x, weight = torch.randn(48, 70).T, torch.randn(48, 96).T
    torch.testing.assert_close(linear(x, weight), x.contiguous() @ weight.contiguous().T, rtol=1e-5, atol=1e-5)


@needs_onednn
@torch.inference_mode()
def test_many_rows_go_to_onednn_and_few_do_not() -> None:
    assert "mkldnn::_linear_pointwise" in operators(lambda: linear(torch.randn(8, 48), WIDE.weight))
    assert "mkldnn::_linear_pointwise" not in operators(lambda: linear(torch.randn(7, 48), WIDE.weight))


@needs_onednn
@torch.inference_mode()
def test_rows_are_filled_up_before_onednn_sees_them() -> None:
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        for rows in (33, 64, 600):
            linear(torch.randn(rows, 48), WIDE.weight)
    shapes = [event.input_shapes[0] for event in seen.events() if event.name == "mkldnn::_linear_pointwise"]
    assert shapes == [[64, 48], [64, 48], [640, 48]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@torch.inference_mode()
def test_other_precisions_stay_with_torch(dtype: torch.dtype) -> None:
    x, weight = torch.randn(40, 48, dtype=dtype), torch.randn(96, 48, dtype=dtype)
    assert torch.equal(linear(x, weight), functional.linear(x, weight))


def test_gradients_are_what_they_were() -> None:
    x = torch.randn(40, 48, requires_grad=True)
    (wanted,) = torch.autograd.grad(functional.linear(x, WIDE.weight).square().sum(), x)
    (found,) = torch.autograd.grad(linear(x, WIDE.weight).square().sum(), x)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("family", ["gemma", "gpt2"])  # the second has layers that keep their weights transposed
@torch.inference_mode()
def test_a_model_computes_what_it_did(family: str, tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path, family), torch.device("cpu"))
    plain = stock(model)
    ids = torch.arange(3, 63).view(2, 30)
    torch.testing.assert_close(model(ids).logits, plain(ids).logits, rtol=1e-4, atol=1e-5)
    if products._WANTED:
        assert "mkldnn::_linear_pointwise" in operators(lambda: model(ids))
    assert "mkldnn::_linear_pointwise" not in operators(lambda: plain(ids))
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_layers_of_other_kinds_are_left_alone() -> None:
    class Own(nn.Linear):
        pass

    block = nn.Sequential(Own(2, 3), nn.Linear(3, 2), nn.LayerNorm(2))
    use_onednn(block)
    assert type(block[0]) is Own
    assert isinstance(block[1], nn.Linear)
    assert type(block[2]) is nn.LayerNorm


def test_rows_are_filled_up_by_little_and_to_few_numbers() -> None:
    up_to = [rows + -rows % products._step(rows) for rows in range(8, 2049)]
    assert all(full - rows < max(32, rows / 8) for rows, full in zip(range(8, 2049), up_to, strict=True))
    assert len(set(up_to)) < 40
    assert all(products.even(full) == full for full in up_to)


@needs_onednn
def test_it_multiplies_where_it_is_faster_unless_the_environment_overrules() -> None:
    amd, intel = "AuthenticAMD, AMD EPYC 9B14", "GenuineIntel, Intel(R) Xeon(R) Processor"
    assert [products.is_wanted({}, one) for one in (amd, intel, "")] == [True, False, False]
    assert [products.is_wanted({products.SWITCH: "off"}, one) for one in (amd, intel)] == [False, False]
    assert [products.is_wanted({products.SWITCH: "on"}, one) for one in (amd, intel)] == [True, True]
