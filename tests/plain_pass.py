"""The example pass as simply as it can be said: one window at a time, whole forwards, loops over tokens.

Shares no code with `eval` but its values; the SAE's own plain encoding and transformers' hidden states are its ground.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from eval.collect.corpora import Document
from probes.subject import Subject


@dataclass(frozen=True)
class PlainWindow:
    """A window and every feature's activation at each of its tokens, BOS left out."""

    document: str
    start: int
    ids: tuple[int, ...]
    special: tuple[bool, ...]
    activations: torch.Tensor

    def values(self, feature: int) -> list[float]:
        """The activations that count."""
        column = self.activations[:, feature].tolist()
        return [0.0 if special else value for value, special in zip(column, self.special, strict=True)]


def plain_windows(subject: Subject, documents: Iterable[Document], context: int) -> list[PlainWindow]:
    """All windows, in the order of the text."""
    tokenizer = subject.tokenizer
    special = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    said, habit = subject.sae.config.prepends_bos, tokenizer("a")["input_ids"][:-1]
    front = habit if said is None else [tokenizer.bos_token_id] if said else []
    found = []
    for document in documents:
        ids = tokenizer.encode(document.text, add_special_tokens=False)
        for start in range(0, len(ids), context - len(front)):
            part = ids[start : start + context - len(front)]
            x = _hidden(subject, [*front, *part])[len(front) :]
            marks = tuple(i in special for i in part)
            found.append(PlainWindow(document.id, start, tuple(part), marks, subject.sae.encode(x)))
    return found


@torch.inference_mode()
def _hidden(subject: Subject, ids: Sequence[int]) -> torch.Tensor:
    """At the hook, which is below the last layer's output here."""
    hook = subject.sae.config.hook
    states = subject.model(torch.tensor([list(ids)]), output_hidden_states=True).hidden_states
    return states[hook.layer + (hook.side == "post")][0].float()
