"""What is read at a hook is what plain forward hooks see on modules named by hand, in every family."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from probes.errors import SubjectError
from probes.hooks.activations import residual
from probes.hooks.sites import into_stream, tap
from probes.model.structure import layers_of
from probes.sae_config import Hook, Site, parse_hook
from probes.subject import Subject
from tests.subjects import D_MODEL, FAMILIES, LAYERS, model

IDS = torch.tensor([[1, 40, 290, 7, 99], [1, 5, 6, 7, 8]])
WITHIN: tuple[Site, ...] = ("attn_out", "mlp_out", "z", "mlp_norm", "mlp_in", "mlp_act", "attn_module", "mlp_module")
ROPE = {"attention": "self_attn", "mlp": "mlp", "before_mlp": "post_attention_layernorm"}
GEMMA = ROPE | {
    "before_mlp": "pre_feedforward_layernorm",
    "after_attention": "post_attention_layernorm",
    "after_mlp": "post_feedforward_layernorm",
}
NAMES = dict.fromkeys(FAMILIES, ROPE) | {
    "gemma2": GEMMA,
    "gemma3": GEMMA,
    "gpt2": {"attention": "attn", "mlp": "mlp", "before_mlp": "ln_2"},
    "gpt_neox": {"attention": "attention", "mlp": "mlp", "before_mlp": "post_attention_layernorm"},
}
PROJECTIONS = {
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "gpt_neox": ("attention.dense", "mlp.dense_4h_to_h"),
}
ROPE_ENDS = ("self_attn.o_proj", "mlp.down_proj")
ADDS_ONE = ("gemma", "gemma2", "gemma3")
"""Their norms store the gain less 1."""
CENTRED = ("gpt2", "gpt_neox")
"""Their norms take off the mean."""
ROWS: tuple[Literal["encoder", "decoder"], ...] = ("encoder", "decoder")
STREAM: tuple[Site, ...] = ("pre", "mid", "post", "mlp_branch", "attn_out", "mlp_out")


def seen(model: PreTrainedModel, module: nn.Module) -> tuple[Tensor, Tensor]:
    """Returns what a module reads and gives in a whole forward."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        found.append(output[0] if isinstance(output, tuple) else output)

    handle = module.register_forward_hook(keep, with_kwargs=True)
    with torch.inference_mode():
        model(IDS)
    handle.remove()
    return found[0], found[1]


@pytest.fixture(params=FAMILIES)
def named(request: pytest.FixtureRequest, subject_of: Callable[[str], Subject]) -> tuple[str, PreTrainedModel]:
    """A family and its tiny model."""
    return request.param, subject_of(request.param).model


@pytest.mark.parametrize("layer", range(LAYERS))
def test_every_site_is_where_plain_hooks_find_it(named: tuple[str, PreTrainedModel], layer: int) -> None:
    family, given = named
    names, block = NAMES[family], layers_of(given)[layer]
    projections = PROJECTIONS.get(family, ROPE_ENDS)
    attention, mlp = block.get_submodule(names["attention"]), block.get_submodule(names["mlp"])
    norm = block.get_submodule(names["before_mlp"])
    expected = {
        "attn_module": seen(given, attention)[1],
        "mlp_module": seen(given, mlp)[1],
        "mlp_in": seen(given, mlp)[0],
        "attn_out": seen(given, block.get_submodule(names.get("after_attention", names["attention"])))[1],
        "mlp_out": seen(given, block.get_submodule(names.get("after_mlp", names["mlp"])))[1],
        "z": seen(given, block.get_submodule(projections[0]))[0],
        "mlp_act": seen(given, block.get_submodule(projections[1]))[0],
        "mlp_norm": without_gain(family, norm, seen(given, norm)[1]),
    }
    for site in WITHIN:
        found = residual(given, IDS, Hook(layer, site))
        torch.testing.assert_close(found, expected[site], rtol=1e-4, atol=1e-4, msg=lambda m, s=site: f"{s}: {m}")
        assert tap(given, Hook(layer, site)).width == found.shape[-1]


def without_gain(family: str, norm: nn.Module, output: Tensor) -> Tensor:
    weight, bias = norm.weight, getattr(norm, "bias", None)
    assert isinstance(weight, Tensor)
    shift = bias if isinstance(bias, Tensor) else 0
    return (output - shift) / (1 + weight if family in ADDS_ONE else weight)


@pytest.mark.parametrize("layer", range(LAYERS))
def test_the_stream_after_a_block_is_the_one_before_and_what_is_added(
    named: tuple[str, PreTrainedModel], layer: int
) -> None:
    family, given = named

    def at(site: Site) -> Tensor:
        return residual(given, IDS, Hook(layer, site))

    torch.testing.assert_close(at("pre") + at("attn_out") + at("mlp_out"), at("post"), rtol=1e-4, atol=1e-4)
    if family == "gpt_neox":
        with pytest.raises(SubjectError, match="does not run attention and MLP one after the other"):
            at("mid")
    else:
        torch.testing.assert_close(at("pre") + at("attn_out"), at("mid"), rtol=1e-4, atol=1e-4)


def test_directions_at_z_go_through_the_projection_and_the_norm_after_it(named: tuple[str, PreTrainedModel]) -> None:
    family, given = named
    name = PROJECTIONS.get(family, ROPE_ENDS)[0]
    block = layers_of(given)[1]
    projection = block.get_submodule(name)
    rows = torch.randn(3, residual(given, IDS, Hook(1, "z")).shape[-1])
    matrix = projection.weight if family == "gpt2" else projection.weight.T
    assert isinstance(matrix, Tensor)
    expected = (rows @ matrix) * gain_after(family, block, "after_attention")
    for row in ROWS:
        assert_close(into_stream(given, Hook(1, "z"), row)(rows), expected)


def gain_after(family: str, block: nn.Module, which: str) -> Tensor | float:
    """The gain of the norm behind the attention or the MLP, as these families store it; 1 where there is none."""
    name = NAMES[family].get(which)
    weight = block.get_submodule(name).weight if name else None
    return 1 + weight if isinstance(weight, Tensor) else 1.0


def test_directions_of_what_a_module_gives_go_through_the_norm_after_it(named: tuple[str, PreTrainedModel]) -> None:
    family, given = named
    rows, block = torch.randn(3, D_MODEL), layers_of(given)[1]
    for site, norm in (("attn_module", "after_attention"), ("mlp_module", "after_mlp")):
        for row in ROWS:
            found = into_stream(given, Hook(1, site), row)(rows)
            assert_close(found, rows * gain_after(family, block, norm))


@pytest.mark.parametrize("site", ["mlp_in", "mlp_norm"])
def test_behind_a_norm_an_encoder_stands_for_what_it_answers_to(named: tuple[str, PreTrainedModel], site: Site) -> None:
    family, given = named
    norm = deepcopy(layers_of(given)[1].get_submodule(NAMES[family]["before_mlp"]))
    if site == "mlp_norm":
        norm.weight = nn.Parameter((torch.zeros if family in ADDS_ONE else torch.ones)(D_MODEL))
    w, x = torch.randn(D_MODEL), (3 * torch.randn(D_MODEL)).requires_grad_()
    (slope,) = torch.autograd.grad(norm(x) @ w, x)
    found = into_stream(given, Hook(1, site), "encoder")(w[None])[0]
    assert_close(unit(across(found, family, x.detach())), unit(slope))


def across(direction: Tensor, family: str, x: Tensor) -> Tensor:
    """The part of it that is not along x, whose size a norm takes away."""
    x = x - x.mean() if family in CENTRED else x
    return direction - direction @ x / x.square().sum() * x


def test_behind_a_norm_a_decoder_stands_for_what_becomes_it(named: tuple[str, PreTrainedModel]) -> None:
    family, given = named
    norm = layers_of(given)[1].get_submodule(NAMES[family]["before_mlp"])
    d = torch.randn(1, D_MODEL)
    found = into_stream(given, Hook(1, "mlp_in"), "decoder")(d)
    bias = getattr(norm, "bias", None)
    became = norm(found) - (bias if isinstance(bias, Tensor) else 0)
    gain = norm.weight + (1 if family in ADDS_ONE else 0)
    wanted = d - (gain * (d / gain).mean() if family in CENTRED else 0)
    assert_close(unit(became), unit(wanted))
    bare = into_stream(given, Hook(1, "mlp_norm"), "decoder")(d)
    assert_close(bare, d - d.mean() if family in CENTRED else d)


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_directions_of_the_stream_stay_as_they_are(named: tuple[str, PreTrainedModel]) -> None:
    rows = torch.randn(3, D_MODEL)
    for site in STREAM:
        assert into_stream(named[1], Hook(1, site), "encoder")(rows) is rows


def test_a_block_that_adds_something_else_is_refused() -> None:
    changed = model("gemma")
    block = layers_of(changed)[1]
    forward = block.forward
    block.forward = lambda *args, **kwargs: forward(*args, **kwargs) * 0.5
    with pytest.raises(SubjectError, match=r"blocks\.1\.hook_mlp_out cannot be found in a Gemma.*does not simply add"):
        residual(changed, IDS, Hook(1, "mlp_out"))
    assert residual(changed, IDS, Hook(1, "mlp_in")).shape == (*IDS.shape, D_MODEL)


class Thing(nn.Module):
    """An MLP under a name that says nothing."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.inner(x)
        return inner


def test_a_block_without_an_mlp_of_its_own_is_refused() -> None:
    changed = model("gemma")
    layers_of(changed)[1].mlp = Thing(layers_of(changed)[1].mlp)
    with pytest.raises(SubjectError, match="has no modules called mlp in a block"):
        residual(changed, IDS, Hook(1, "mlp_out"))


def test_half_precision_adds_up_too() -> None:
    half = model("gemma3").bfloat16()
    for site in ("attn_out", "mlp_out", "mid", "mlp_norm"):
        assert residual(half, IDS, Hook(1, site)).shape == (*IDS.shape, D_MODEL)


@pytest.mark.parametrize("name", ["blocks.1.hook_resid_post", "blocks.12.attn.hook_z", "blocks.0.ln2.hook_normalized"])
def test_a_hook_is_what_its_name_says(name: str) -> None:
    assert str(parse_hook(name)) == name


def test_transformer_lens_s_hook_mlp_in_is_what_is_before_the_norm(subject: Subject) -> None:
    hook = parse_hook("blocks.1.hook_mlp_in")
    assert str(hook) == "blocks.1.hook_mlp_in"
    assert torch.equal(residual(subject.model, IDS, hook), residual(subject.model, IDS, Hook(1, "mid")))
