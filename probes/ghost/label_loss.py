"""Measures how surprised the model is by a feature's label when asked about its vector, with a gradient to the
vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from probes.errors import SettingsError
from probes.ghost.adapter import LABEL, FitSettings
from probes.ghost.vectors import directions, has_direction
from probes.model.last_logits import last_logits
from probes.model.structure import max_positions
from probes.settings import TreeSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids, prompt_text


@dataclass(frozen=True)
class LabelPair:
    """A feature and what it stands for."""

    feature: int
    label: str


@dataclass(frozen=True)
class LabelTokens:
    """A label in its wording, as tokens."""

    ids: tuple[int, ...]
    n_given: int
    """How many of them are given rather than learned: those of the text before the label."""


@dataclass(frozen=True, eq=False)
class LabelRows:
    """Pairs as tensors; short wordings are filled up behind their end, where nothing of them sees it."""

    units: Float[Tensor, "n d_model"]
    ids: Int[Tensor, "n pos"]
    """The wordings."""
    learned: Bool[Tensor, "n pos"]

    def __len__(self) -> int:
        return len(self.units)

    def at(self, where: Int[Tensor, " m"]) -> "LabelRows":
        """Some of them, no longer than they need to be."""
        longest = int(self.learned[where].any(dim=0).nonzero().max()) + 1
        return LabelRows(self.units[where], self.ids[where, :longest], self.learned[where, :longest])


class LabelLoss:
    """A subject, and a prompt after which labels are to come."""

    def __init__(self, subject: Subject, settings: FitSettings) -> None:
        self._subject, self._settings = subject, settings
        text = prompt_text(subject.tokenizer, TreeSettings(prompt=settings.prompt))
        self._prompt = prompt_ids(subject.tokenizer, text, subject.card.placeholder_id)

    def rows(self, pairs: Sequence[LabelPair]) -> LabelRows:
        """Raises SettingsError for a feature without direction, and for a label that is too long for the model."""
        units = directions(self._subject, [pair.feature for pair in pairs], self._settings.weights)
        for pair, lives in zip(pairs, has_direction(units).tolist(), strict=True):
            if not lives:
                raise SettingsError(
                    f"Feature {pair.feature} has no direction by {self._settings.weights} weights to fit its label to; "
                    "leave it out."
                )
        words = [wording(self._subject.tokenizer, self._settings.wording, pair.label) for pair in pairs]
        for pair, word in zip(pairs, words, strict=True):
            if word.n_given == len(word.ids):
                raise SettingsError(
                    f"Nothing of feature {pair.feature}'s label is a token of this model; leave it out."
                )
        longest = max((len(word.ids) for word in words), default=0)
        self._check_length(longest)
        ids = [[*word.ids, *[self._prompt.ids[0]] * (longest - len(word.ids))] for word in words]
        learned = [[word.n_given <= at < len(word.ids) for at in range(longest)] for word in words]
        device = self._subject.model.device
        return LabelRows(
            units.clone(),
            torch.tensor(ids, dtype=torch.long, device=device).view(len(pairs), longest),
            torch.tensor(learned, dtype=torch.bool, device=device).view(len(pairs), longest),
        )

    def of(self, rows: LabelRows, scale: Float[Tensor, ""], bias: Float[Tensor, " d_model"]) -> Float[Tensor, " n"]:
        """Mean nats per learned token of each row, in one forward, the ghost being scale * r + bias."""
        subject, prompt = self._subject, torch.tensor(self._prompt.ids, device=rows.ids.device)
        n, longest = rows.ids.shape
        ids = torch.cat([prompt.expand(n, -1), rows.ids[:, :-1]], dim=1)
        ghosts = (scale * rows.units + bias) * subject.input_scale
        with subject.ghosts_at(self._prompt.ghost_position, ghosts):
            logits = last_logits(subject.model, ids, longest)[rows.learned].float()
        hidden = torch.arange(logits.shape[1], device=logits.device) == subject.card.placeholder_id
        nats = torch.nn.functional.cross_entropy(
            logits.masked_fill(hidden, -torch.inf), rows.ids[rows.learned], reduction="none"
        )
        row = rows.learned.nonzero()[:, 0]
        return torch.zeros(n, device=nats.device).index_add(0, row, nats) / rows.learned.sum(dim=1)

    @torch.no_grad()
    def each(self, rows: LabelRows, scale: Tensor, bias: Tensor) -> list[float]:
        """As `of`, a batch at a time."""
        batches = torch.arange(len(rows), device=rows.ids.device).split(self._settings.batch) if len(rows) else ()
        return [nats for batch in batches for nats in self.of(rows.at(batch), scale, bias).tolist()]

    def _check_length(self, longest: int) -> None:
        positions = max_positions(self._subject.model)
        if positions and len(self._prompt.ids) + longest > positions:
            raise SettingsError(
                f"A label of {longest} tokens after a prompt of {len(self._prompt.ids)} goes beyond the model's "
                f"{positions} positions; leave it out."
            )


def wording(tokenizer: PreTrainedTokenizerBase, template: str, label: str) -> LabelTokens:
    """The tokens of a label in its wording. What looks like a special token in it is spelt out, not obeyed."""
    before, after = template.split(LABEL)
    ids, given = (_spelt(tokenizer, text) for text in (before + label + after, before))
    shared = next((at for at, (a, b) in enumerate(zip(given, ids, strict=False)) if a != b), min(len(given), len(ids)))
    return LabelTokens(tuple(ids), shared)


def _spelt(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)) if text else []
