"""Finds the sites of a block by watching one short forward, not from a table of families.

Attention and MLP are the block's children called so; which norm stands before or after them shows in which tensors they
hand on. A block that does not simply add what they give to its input is refused, since the sites have no meaning there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from probes.errors import SubjectError
from probes.hooks.norms import Norm, norm_of
from probes.hooks.watching import IDS, ModuleCall, watched
from probes.model.structure import layers_of
from probes.sae_config import Hook

_ATTENTION, _MLP = ("attn", "attention"), ("mlp", "feedforward", "feed_forward", "ffn", "moe")
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Of a sum's rounding, relative to its parts."""


def _as_it_is(states: Tensor) -> Tensor:
    return states


@dataclass(frozen=True, eq=False)
class Tap:
    """A place to read: a module, and what of it is at the hook."""

    module: nn.Module
    side: Literal["in", "out"]
    at_hook: Callable[[Tensor], Tensor] = _as_it_is
    width: int | None = None
    """Numbers at a token; None where the block was not watched, which is at its ends."""


@dataclass(frozen=True, eq=False)
class _Half:
    """The attention or the MLP of a block."""

    call: ModuleCall
    norm_before: ModuleCall | None
    norm_after: ModuleCall | None
    projection: ModuleCall | None
    """The last module with a matrix inside it."""

    @property
    def last(self) -> ModuleCall:
        """Returns the module whose output is added to the stream."""
        return self.norm_after or self.call


def tap(model: PreTrainedModel, hook: Hook) -> Tap:
    """Finds the place to read `model` for the hook. Raises SubjectError if the model has none."""
    layer = layers_of(model)[hook.layer]
    if hook.side in ("pre", "post"):
        return Tap(layer, "in" if hook.side == "pre" else "out", _stream_of(model))
    return _on_first_device(model, _Block(model, layer, hook).tap())


def parts(model: PreTrainedModel, hook: Hook) -> tuple[Tap, ...]:
    """Returns the places to read `model` before the activations at the hook can be changed: the hook holds their sum.

    They are one but for `mid`, which no module gives: it is read when the attention has given its part, since there it
    is written too. Raises SubjectError where the model has no such place.
    """
    if hook.side != "mid":
        return (tap(model, hook),)
    return (tap(model, replace(hook, side="pre")), written_tap(model, hook))


def written_tap(model: PreTrainedModel, hook: Hook) -> Tap:
    """Finds the place to change `model` so that it goes on with the changed activations at the hook.

    At `mid`, the stream goes past the MLP as well as into it, so it is the attention's part of it that is changed.
    Raises SubjectError where the model has no such place, or no module hands on what is there.
    """
    if hook.side == "mlp_norm":
        raise SubjectError(f"No module hands on what is at {hook}, so nothing can be steered; leave --steer out.")
    if hook.side != "mid":
        return tap(model, hook)
    return _on_first_device(model, _Block(model, layers_of(model)[hook.layer], hook).mid_part())


def _on_first_device(model: PreTrainedModel, place: Tap) -> Tap:
    return replace(place, at_hook=lambda states: place.at_hook(states).to(model.device))


def _stream_of(model: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """Returns the stream of a block's output; of several streams, as Gemma 3n has, the one that blocks compute with.

    On the model's first device, as all of ours is, should the block be on another.
    """
    active = getattr(model.config.get_text_config(decoder=True), "altup_active_idx", None)
    return lambda states: (states if active is None else states[active]).to(model.device)


Carry = Callable[[Float[Tensor, "n width"]], Float[Tensor, "n d_model"]]
"""From directions at a hook to directions of the residual stream."""


def into_stream(model: PreTrainedModel, hook: Hook, row: Literal["encoder", "decoder"]) -> Carry:
    """From an SAE's rows at the hook to directions of the stream.

    Those at `z`, `mlp_act` and the modules' own outputs as the block hands them on: through the projection, and the
    norm after it if there is one. Behind the norm before the MLP, an encoder's row w stands for what it answers to,
    gain * w, and a decoder's for what the norm makes it of, w / gain. All others are taken as they are. Raises
    SubjectError where the model has no such place.
    """
    if hook.side not in ("z", "mlp_act", "attn_module", "mlp_module", "mlp_in", "mlp_norm"):
        return _as_it_is
    return _Block(model, layers_of(model)[hook.layer], hook).carry(row)


class _Block:
    """One block after a forward."""

    def __init__(self, model: PreTrainedModel, layer: nn.Module, hook: Hook) -> None:
        self._name, self._hook, self._device = type(model).__name__, hook, model.device
        calls = watched(model, layer)
        self._calls, self._whole = calls[:-1], calls[-1]
        self._children = {id(child) for child in layer.children()}
        is_attention = hook.side in ("z", "attn_out", "attn_module")
        self._half = self._find(_ATTENTION if is_attention else _MLP)

    def tap(self) -> Tap:
        """See the function."""
        half = self._half
        match self._hook.side:
            case "attn_module" | "mlp_module":
                return self._behind(half.call)
            case "mlp_in":
                return self._before(half.call)
            case "z" | "mlp_act":
                return self._before(self._projection())
            case "mlp_norm":
                norm = self._norm_before()
                return self._before(norm, self._norm(norm).bare)
            case "mid" | "mlp_branch":
                return self._before(self._middle())
            case _:
                self._check_sum()
                return self._behind(half.last)

    def mid_part(self) -> Tap:
        """Returns the attention's part in `mid`, that is what is added to the stream."""
        self._middle()
        return self._behind(self._find(_ATTENTION).last)

    def carry(self, row: Literal["encoder", "decoder"]) -> Carry:
        """See `into_stream`."""
        half = self._half
        match self._hook.side:
            case "mlp_in" | "mlp_norm":
                if half.norm_before is None:
                    return _as_it_is
                norm = self._norm(half.norm_before)
                norm = norm.without_gain() if self._hook.side == "mlp_norm" else norm
                return norm.answering if row == "encoder" else norm.back
            case "attn_module" | "mlp_module":
                return self._added
            case _:
                return self._projected

    def _projected(self, rows: Tensor) -> Tensor:
        """Directions at `z` or `mlp_act`, in the stream."""
        last = self._projection()
        with torch.inference_mode():
            bias = last.module(last.read.new_zeros(1, rows.shape[-1]))
            written: Tensor = last.module(rows.to(last.read)) - bias
        return self._added(written.to(rows))

    def _added(self, rows: Tensor) -> Tensor:
        """Directions of what the attention or the MLP gives, in the stream."""
        after = self._half.norm_after
        return self._norm(after).forth(rows) if after else rows

    def _norm(self, call: ModuleCall) -> Norm:
        """Measures a norm, and checks it against what the module gave."""
        norm = norm_of(call.module, call.read)
        if not _adds_up(call.gave, norm.bare(call.read) * norm.gain, norm.shift):
            raise self._refusal("has an unknown kind of norm there")
        return norm.to(self._device)

    def _before(self, call: ModuleCall, at_hook: Callable[[Tensor], Tensor] = _as_it_is) -> Tap:
        return Tap(call.module, "in", at_hook, self._width(call.read))

    def _behind(self, call: ModuleCall) -> Tap:
        return Tap(call.module, "out", width=self._width(call.gave))

    def _width(self, states: Tensor) -> int:
        if states.shape[:-1] != (1, len(IDS)):
            raise self._refusal("does not keep its tokens apart there")
        return states.shape[-1]

    def _projection(self) -> ModuleCall:
        half = self._half
        last = half.projection
        if last is None or last.read.shape[:-1] != half.call.gave.shape[:-1]:
            raise self._refusal("has no single output projection there")
        return last

    def _norm_before(self) -> ModuleCall:
        if self._half.norm_before is None:
            raise self._refusal("has no norm directly before its MLP")
        return self._half.norm_before

    def _middle(self) -> ModuleCall:
        """Returns the module that reads the stream after the attention: the norm before the MLP, or without one the MLP
        itself.
        """
        attention, reader = self._find(_ATTENTION), self._half.norm_before or self._half.call
        if not _adds_up(reader.read, self._whole.read, attention.last.gave):
            raise self._refusal("does not run attention and MLP one after the other")
        return reader

    def _check_sum(self) -> None:
        attention, mlp = self._find(_ATTENTION), self._find(_MLP)
        if not _adds_up(self._whole.gave, self._whole.read, attention.last.gave, mlp.last.gave):
            raise self._refusal("does not simply add what attention and MLP give to the stream")

    def _find(self, words: Sequence[str]) -> _Half:
        found = [call for call in self._calls if id(call.module) in self._children and _is_called(call.module, words)]
        if len(found) != 1:
            raise self._refusal(f"has {len(found) or 'no'} modules called {words[0]} in a block")
        call = found[0]
        inner = {id(module) for module in call.module.modules() if module is not call.module}
        projections = [c for c in self._calls if id(c.module) in inner and _has_matrix(c.module)]
        norms = [c for c in self._calls if id(c.module) in self._children and _is_norm(c.module)]
        return _Half(
            call,
            next((norm for norm in norms if _same(norm.gave, call.read)), None),
            next((norm for norm in norms if _same(norm.read, call.gave)), None),
            projections[-1] if projections else None,
        )

    def _refusal(self, why: str) -> SubjectError:
        return SubjectError(
            f"The hook {self._hook} cannot be found in a {self._name}, which {why}; take an SAE of the residual stream."
        )


def _is_called(module: nn.Module, words: Sequence[str]) -> bool:
    """Tells whether the class's name has one of the words; one called attention is no MLP (a Qwen3MoeAttention)."""
    name = type(module).__name__.lower()
    is_other = _is_norm(module) or (words is not _ATTENTION and any(word in name for word in _ATTENTION))
    return not is_other and any(word in name for word in words)


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _has_matrix(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return not any(module.children()) and isinstance(weight, Tensor) and weight.ndim == 2


def _same(one: Tensor, other: Tensor) -> bool:
    """Tells whether both are one tensor, handed on."""
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape


def _adds_up(total: Tensor, *parts: Tensor) -> bool:
    tolerance = _TOLERANCE.get(total.dtype, 1e-4) * sum(float(part.float().norm()) for part in parts)
    return float((total.float() - sum(part.float() for part in parts)).norm()) <= tolerance
