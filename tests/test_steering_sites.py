"""Steering at every place where an SAE may write: the forward is one with hooks written by hand on named modules."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from probes.errors import SubjectError
from probes.hooks.activations import residual
from probes.model.structure import layers_of
from probes.presets import SubjectSource
from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig, Site
from probes.steering import FeatureSteering
from probes.subject import Subject, load_subject
from tests.subjects import D_MODEL, N_FEATURES, sae_config, sae_tensors, write_model, write_sae
from tests.test_sites import NAMES, PROJECTIONS, ROPE_ENDS
from tests.test_steering import steered, stream_under

EVERYWHERE: tuple[Site, ...] = (
    "pre",
    "mid",
    "post",
    "mlp_branch",
    "attn_out",
    "mlp_out",
    "z",
    "mlp_in",
    "mlp_act",
    "attn_module",
    "mlp_module",
)
BETWEEN: tuple[Site, ...] = ("mid", "mlp_branch")
"""Sites that blocks do not have whose attention and MLP run side by side."""
SERIAL = ("gemma", "gemma2", "llama", "gpt2")
HAVE = [
    *product(SERIAL, EVERYWHERE),
    *(("gpt_neox", site) for site in EVERYWHERE if site not in BETWEEN),
]
IDS = torch.tensor([[1, 40, 290, 7, 99]])


def steered_at(subject: Subject, hook: Hook) -> tuple[Subject, FeatureSteering, int]:
    """The subject with an SAE at the hook, one of whose features that activate there is clamped at the last token."""
    width = residual(subject.model, IDS, hook).shape[-1]
    tensors: dict[str, Any] = {**sae_tensors(width)}
    sae = SAE(SaeConfig("standard", width, N_FEATURES, hook), **tensors)
    subject = replace(subject, sae=sae)
    feature = int(sae.encode(residual(subject.model, IDS, hook))[0, -1].argmax())
    return subject, FeatureSteering(subject, [feature], [40.0], steered("after", "clamp")), feature


@contextmanager
def last_token_changed(block: Any, names: Mapping[str, Any], site: Site, by: Tensor) -> Iterator[None]:
    """Plain hooks: `by` is added to the last token at a site, on modules named by hand.

    What is added to the stream within a block is added to what the MLP reads of it, and to what the block gives.
    """
    attention, mlp = names["attention"], names["mlp"]
    z, act = names["projections"]
    places: dict[str, list[tuple[str, str]]] = {
        "pre": [("in", "")],
        "mid": [("in", names["before_mlp"]), ("out", "")],
        "post": [("out", "")],
        "mlp_branch": [("in", names["before_mlp"])],
        "attn_out": [("out", names.get("after_attention", attention))],
        "mlp_out": [("out", names.get("after_mlp", mlp))],
        "z": [("in", z)],
        "mlp_in": [("in", mlp)],
        "mlp_act": [("in", act)],
        "attn_module": [("out", attention)],
        "mlp_module": [("out", mlp)],
    }

    def more(states: Tensor) -> Tensor:
        changed = states.clone()
        changed[:, -1] += by
        return changed

    def before(_module: Any, args: Any, kwargs: Any) -> Any:
        if args:
            return (more(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": more(kwargs["hidden_states"])}

    def after(_module: Any, _args: Any, out: Any) -> Any:
        return (more(out[0]), *out[1:]) if isinstance(out, tuple) else more(out)

    with ExitStack() as stack:
        for side, name in places[site]:
            module = block.get_submodule(name)
            put = module.register_forward_pre_hook if side == "in" else module.register_forward_hook
            handle = put(before, with_kwargs=True) if side == "in" else put(after)
            stack.callback(handle.remove)
        yield


@pytest.mark.parametrize(("family", "site"), HAVE)
def test_at_every_site_a_forward_is_that_of_hooks_written_by_hand(subject_of: Any, family: str, site: Site) -> None:
    subject, steering, feature = steered_at(subject_of(family), Hook(1, site))
    sae, x = subject.sae, residual(subject.model, IDS, Hook(1, site))[0, -1]
    bias = sae_tensors(len(x))["b_enc"][feature]
    active = ((x - sae.b_dec) @ sae.W_enc[:, feature] + bias).relu()
    block, names = layers_of(subject.model)[1], NAMES[family] | {"projections": PROJECTIONS.get(family, ROPE_ENDS)}
    with torch.inference_mode():
        with last_token_changed(block, names, site, (40.0 - active) * sae.W_dec[feature]):
            expected = subject.model(IDS).logits
        with steering.over(torch.tensor([0]), planting=True):
            found = subject.model(IDS).logits
        plain = subject.model(IDS).logits
    assert active > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)


@pytest.mark.parametrize("site", ["pre", "mid", "post", "attn_out", "mlp_out"])
@pytest.mark.parametrize("family", ["gemma", "gpt2"])
def test_what_is_written_to_the_stream_is_in_what_the_block_hands_on(subject_of: Any, family: str, site: Site) -> None:
    hook = Hook(1, site)
    subject = replace(subject_of(family), sae=steered_at(subject_of(family), hook)[0].sae)
    steering = FeatureSteering(subject, [0], [1e-3], steered("after", "add"))
    row = subject.sae.W_dec[0]
    change = (stream_under(subject, steering, IDS) - residual(subject.model, IDS, Hook(1, "post")))[0, -1]
    # what the MLP makes of the change comes on top, whatever it is
    assert float(change @ row / row.square().sum() / 1e-3) > 0.3


@pytest.mark.parametrize("site", BETWEEN)
def test_there_is_no_middle_of_a_block_whose_halves_run_side_by_side(subject_of: Any, site: Site) -> None:
    with pytest.raises(SubjectError, match="does not run attention and MLP one after the other"):
        steered_at(subject_of("gpt_neox"), Hook(1, site))


def test_a_transcoder_is_read_where_it_reads_and_steered_where_it_writes(tmp_path: Path) -> None:
    metadata = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out", "prepend_bos": True}
    config = sae_config(architecture="transcoder", d_out=D_MODEL, metadata=metadata)
    write_model(tmp_path / "model", "llama")
    write_sae(tmp_path / "sae", config)
    subject = load_subject(SubjectSource(model=str(tmp_path / "model"), sae=str(tmp_path / "sae"), device="cpu"))
    assert subject.sae.config.hook_out is not None
    subject = replace(subject, sae=replace(subject.sae, output_scale=0.5))
    block: Any = layers_of(subject.model)[1]
    ids = torch.tensor([[1, 40, 290, 7, 99]])
    read: list[Tensor] = []
    handle = block.mlp.register_forward_hook(lambda _m, args, _out: read.append(args[0]))
    with torch.inference_mode():
        subject.model(ids)
    handle.remove()
    active = subject.sae.encode(read[0])
    feature = int(active[0, -1].argmax())

    def by_hand(_module: object, _args: object, output: Tensor) -> Tensor:
        changed = output.clone()
        changed[:, -1] += (6.0 - active[:, -1, feature])[:, None] * subject.sae.W_dec[feature] / 0.5
        return changed

    steering = FeatureSteering(subject, [feature], [6.0], steered("after", "clamp"))
    with torch.inference_mode():
        with steering.over(torch.tensor([0]), planting=True):
            found = subject.model(ids).logits
        handle = block.mlp.register_forward_hook(by_hand)
        expected = subject.model(ids).logits
        handle.remove()
        plain = subject.model(ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_an_sae_that_writes_where_no_module_does_is_refused(subject: Subject) -> None:
    config = replace(subject.sae.config, hook=Hook(1, "mlp_norm"))
    with pytest.raises(SubjectError, match=r"ln2\.hook_normalized, so nothing can be steered"):
        FeatureSteering(replace(subject, sae=replace(subject.sae, config=config)), [0], [1.0], steered("all"))
