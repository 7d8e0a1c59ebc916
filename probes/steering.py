"""Steering: a feature's decoder row added to what the model computes, or the feature clamped to an activation.

At the hook point where the SAE writes: add is x + m u W_dec[f], clamp is x + (m - a(x)) u W_dec[f], with m the amount,
a(x) what the feature's activation is there, and u the unit that turns what the SAE writes into the model's own. Many
sequences at once, each with its own feature and amount.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, reduce
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from probes.columns import Columns
from probes.errors import SettingsError, SubjectError
from probes.hooks.sites import Tap, parts, written_tap
from probes.sae import SAE
from probes.settings import PRONOUNS, SteeringSettings
from probes.subject import Subject

Change = Callable[[Tensor], Tensor]
"""From what a module takes or gives to what is taken or given instead."""


class FeatureSteering:
    """Steers sequence i of a forward by the feature it belongs to; `probes.growing.growth` asks for it."""

    def __init__(
        self,
        subject: Subject,
        features: Sequence[int],
        amounts: Sequence[float],
        settings: SteeringSettings,
    ) -> None:
        """`amounts` are activations, one for each of the features.

        Raises SubjectError where the SAE writes at a place that cannot be written to.
        """
        sae = subject.sae
        if sae.config.last_target is not None:
            raise SubjectError(
                f"The transcoder writes at {sae.config.sites}, and a feature is steered at one place; name one of its "
                "layers, as --sae PLACE@LAYER."
            )
        self._sae, self._settings = sae, settings
        written_at = sae.config.hook_out or sae.config.hook
        self._reading = parts(subject.model, sae.config.hook)
        self._writing = written_tap(subject.model, written_at)
        self.everywhere = settings.at == "all" and (settings.mode == "clamp" or any(amounts))
        self._rows = written_rows(sae, features)
        self._amounts = torch.tensor([*amounts], dtype=torch.float32, device=sae.device)
        own = {feature: place for place, feature in enumerate(dict.fromkeys(features))}
        self._columns = Columns(sae, [*own])
        self._places = torch.tensor([own[feature] for feature in features], device=sae.device)

    @contextmanager
    def over(self, trees: Int[Tensor, " n"], planting: bool) -> Iterator[None]:
        """While it lasts, sequence i of every forward is steered by feature `trees[i]` of those given.

        Planting, sequences begin at the ghost, or at the prompt's first token where it is everywhere; else they are
        one token of a definition each.
        """
        where = self._where(planting)
        if where is None:
            yield
            return
        trees = trees.to(self._rows.device)
        seen: dict[Tap, Tensor] = {}

        def read(place: Tap, states: Tensor) -> Tensor:
            seen[place] = place.at_hook(states)
            return states

        def write(states: Tensor) -> Tensor:
            changed = states.clone()  # the model may go on with what it had
            part = _part(self._writing, changed)
            change = self._change(reduce(torch.add, (seen[place][:, where] for place in self._reading)), trees)
            part[:, where] = (part[:, where].float() + change.to(part.device)).to(part.dtype)
            return changed

        with ExitStack() as stack:
            for place in self._reading:
                stack.enter_context(_changed(place, partial(read, place)))
            stack.enter_context(_changed(self._writing, write))
            yield

    def _where(self, planting: bool) -> slice | None:
        """The positions of a sequence that are steered; None for none."""
        if self._settings.at == "ghost":
            return slice(0, 1) if planting else None
        return slice(-1, None) if self._settings.at == "after" else slice(None)

    def _change(self, activations: Float[Tensor, "n pos d_model"], trees: Int[Tensor, " n"]) -> Tensor:
        """Returns the change to add, [n pos d_out], given what the SAE reads at these positions."""
        amounts = self._amounts[trees][:, None]
        if self._settings.mode == "clamp":
            amounts = amounts - self._columns.own(activations, self._places[trees])
        return amounts[:, :, None] * self._sae.unit(activations) * self._rows[trees][:, None]


def written_rows(sae: SAE, features: Sequence[int]) -> Float[Tensor, "n d_out"]:
    """Returns the SAE's output for one unit of each feature's activation, in its own units."""
    rows = sae.decoder_rows(features)
    return rows / rows.norm(dim=-1, keepdim=True).clamp(min=1e-12) if sae.config.scales_by_decoder_norm else rows


def pronoun_of(tokenizer: PreTrainedTokenizerBase, settings: SteeringSettings) -> str:
    """The word that stands in the ghost's place. Raises SettingsError where it is not one token, or none is."""
    words = PRONOUNS if settings.pronoun is None else (settings.pronoun,)
    for word in words:
        if len(_ids(tokenizer, word)) == 1:
            return word
    tried = " or ".join(repr(word) for word in words)
    raise SettingsError(f"{tried} is not one token of this model; name a word that is with --pronoun.")


def pronoun_id(tokenizer: PreTrainedTokenizerBase, pronoun: str | None) -> int:
    """The token of a word that is one."""
    assert pronoun is not None
    return _ids(tokenizer, pronoun)[0]


def _ids(tokenizer: PreTrainedTokenizerBase, word: str) -> list[int]:
    return list(tokenizer.encode(word, add_special_tokens=False))


def _part(place: Tap, states: Tensor) -> Tensor:
    """Returns the part of `states` that is at the hook, as a view."""
    part = place.at_hook(states)
    if part.untyped_storage().data_ptr() == states.untyped_storage().data_ptr():
        return part
    if part.shape != states.shape:
        raise SubjectError("A model with several streams that lies on several devices cannot be steered.")
    return states  # the part is a copy on the model's first device


@contextmanager
def _changed(place: Tap, change: Change) -> Iterator[None]:
    """While it lasts, what the module takes or gives at that place is changed."""

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    if place.side == "in":
        handle = place.module.register_forward_pre_hook(before, with_kwargs=True)
    else:
        handle = place.module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
