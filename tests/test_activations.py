"""Chosen features' activations: the same as all features' of a whole forward, and no layer above the hook is run."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from probes.activations import feature_activations
from probes.columns import Columns
from probes.hooks.activations import cut_at, cut_at_last, residual
from probes.model.structure import final_norm_of, layers_of
from probes.sae import SAE
from probes.sae_config import Hook
from probes.sae_formats import read_sae
from probes.subject import Subject
from tests.subjects import D_MODEL, LAYERS, N_FEATURES, VOCAB, sae_config, write_sae

CHOSEN = [5, 0, 23, 11, 2]
RULES: dict[str, tuple[dict[str, Any], dict[str, Tensor]]] = {
    "standard": ({}, {}),
    "jumprelu": ({}, {"threshold": torch.linspace(-2, 8, N_FEATURES)}),
    "gated": ({}, {n: torch.linspace(-2, 2, N_FEATURES) for n in ("b_gate", "b_mag", "r_mag")}),
    "topk": ({"k": 4, "rescale_acts_by_decoder_norm": True}, {}),
}
NORMALISATIONS = ("none", "constant_norm_rescale", "layer_norm")


def n_hooks(model: PreTrainedModel) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules())


def sae_of(folder: Path, rule: str, **changes: Any) -> SAE:
    config, tensors = RULES[rule]
    return read_sae(write_sae(folder, sae_config(architecture=rule, **config, **changes), **tensors))


@pytest.mark.parametrize(("rule", "normalisation"), list(product(RULES, NORMALISATIONS)))
def test_columns_are_those_of_the_whole_encoding(tmp_path: Path, rule: str, normalisation: str) -> None:
    x = 3 * torch.randn(7, 5, D_MODEL, generator=torch.Generator().manual_seed(3))
    for subtracts in (True, False):
        read = sae_of(tmp_path, rule, normalize_activations=normalisation, apply_b_dec_to_input=subtracts)
        for sae in (read, replace(read, input_scale=0.3, config=replace(read.config, centres_input=True))):
            found, whole = Columns(sae, CHOSEN).encode(x), sae.encode(x)[..., CHOSEN]
            torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)
            assert torch.equal(found > 0, whole > 0)
            assert 0 < (whole > 0).float().mean() < 1


@pytest.mark.parametrize("rule", RULES)
def test_scores_are_activations_above_the_threshold_and_no_activation_is_below_0(tmp_path: Path, rule: str) -> None:
    columns = Columns(sae_of(tmp_path, rule), CHOSEN)
    x = torch.randn(40, D_MODEL)
    scores, activations = columns.scores(x), columns.encode(x)
    activates = scores > columns.threshold
    assert torch.equal(activates, activations > 0)
    assert torch.equal(activations[activates], scores[activates])
    assert (columns.threshold >= 0).all()


def test_columns_take_half_precision_and_give_float32(tmp_path: Path) -> None:
    sae = sae_of(tmp_path, "standard")
    x = torch.randn(4, D_MODEL).bfloat16()
    assert Columns(sae, CHOSEN).encode(x).dtype == torch.float32
    torch.testing.assert_close(Columns(sae, CHOSEN).encode(x), sae.encode(x)[:, CHOSEN])


@pytest.mark.parametrize("side", ["pre", "post"])
def test_no_layer_above_the_hook_is_run(any_subject: Subject, side: Any) -> None:
    model = any_subject.model
    run: set[object] = set()
    parts = {n: next(layer.children()) for n, layer in enumerate(layers_of(model))} | {"norm": final_norm_of(model)}
    handles = [p.register_forward_pre_hook(lambda *_, name=name: run.add(name)) for name, p in parts.items()]
    try:
        residual(model, torch.randint(3, VOCAB, (2, 9)), Hook(1, side))
    finally:
        for handle in handles:
            handle.remove()
    assert run == ({0, 1} if side == "post" else {0})


def test_the_model_is_whole_again_afterwards(any_subject: Subject) -> None:
    model, ids = any_subject.model, torch.randint(3, VOCAB, (2, 9))
    before, hooks = model(ids).logits, n_hooks(model)
    with cut_at(model, Hook(1, "post")) as stream:
        first = stream(ids)
        assert torch.equal(first, stream(ids))
    assert torch.equal(model(ids).logits, before)
    assert n_hooks(model) == hooks


def test_padding_on_the_right_changes_nothing(any_subject: Subject) -> None:
    ids = torch.randint(3, VOCAB, (1, 30), generator=torch.Generator().manual_seed(0))
    padded = torch.cat([ids[:, :11], torch.zeros(1, 19, dtype=torch.long)], dim=1)
    columns = Columns(any_subject.sae, CHOSEN)
    alone = feature_activations(any_subject, columns, ids[:, :11])
    beside = feature_activations(any_subject, columns, torch.cat([padded, ids]))
    torch.testing.assert_close(beside[:1, :11], alone, rtol=1e-4, atol=1e-4)


def test_activations_are_the_encoding_of_the_hidden_states(any_subject: Subject) -> None:
    ids = torch.randint(3, VOCAB, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        hidden = any_subject.model(ids, output_hidden_states=True).hidden_states
    expected = any_subject.sae.encode(hidden[any_subject.card.layer + 1])[..., CHOSEN]
    found = feature_activations(any_subject, Columns(any_subject.sae, CHOSEN), ids)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert any_subject.card.layer + 1 < LAYERS


def test_several_places_are_read_in_one_forward_whatever_later_layers_write_into(subject: Subject) -> None:
    ids = torch.tensor([[1, 9, 30, 7]])
    hooks = [Hook(1, "post"), Hook(0, "post"), Hook(1, "post")]
    expected = [residual(subject.model, ids, hook) for hook in hooks]

    def write(_module: object, args: tuple[torch.Tensor, ...]) -> None:
        args[0].add_(3.0)  # into the very states that the first place has
        args[0].sub_(3.0)
        args[0][0, 0] += 100

    handle = layers_of(subject.model)[1].register_forward_pre_hook(write)
    try:
        with cut_at_last(subject.model, hooks) as streams:
            found = streams(ids)
            again = streams(ids)
    finally:
        handle.remove()
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=0)
    torch.testing.assert_close(again[0], found[0])
    assert not torch.allclose(found[0], expected[0])  # what was written goes on
