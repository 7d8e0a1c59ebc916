"""Documents for the tiny subjects, and SAEs of every activation rule that reconstruct what those subjects compute."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from eval.collect.corpora import Document
from probes.hooks.activations import residual
from probes.sae import SAE
from probes.sae_config import SaeConfig
from probes.subject import Subject
from tests.subjects import D_MODEL, VOCAB

N_FEATURES = 2 * D_MODEL
RULES = ("standard", "jumprelu", "gated", "topk")

_TEXT = "the cat sat on a mat and dogs ran; “old” houses größer 猫 x = 3 <eos> 🙂"


def texts(n: int, seed: int = 0, longest: int = 90) -> list[Document]:
    """Documents of 1 to `longest` words, some with special tokens and characters in several tokens."""
    rng = random.Random(seed)
    return [Document(f"d{i}", " ".join(rng.choices(_TEXT.split(), k=rng.randint(1, longest)))) for i in range(n)]


def fitting(subject: Subject, rule: Any = "jumprelu", **changes: Any) -> Subject:
    """The subject with an SAE of `rule` whose features are both directions of a rotated basis; a few are on at once."""
    generator = torch.Generator().manual_seed(0)
    config = replace(subject.sae.config, architecture=rule, n_features=N_FEATURES, k=8, **changes)
    ids = torch.randint(3, VOCAB, (40, 60), generator=generator)
    x = residual(subject.model, ids, config.hook)[:, 1:].flatten(0, 1).float()
    mean, basis = x.mean(0), torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=generator)).Q
    rows = torch.cat([basis.T, -basis.T])
    bar = ((x - mean) @ basis).abs().quantile(0.75, dim=0).repeat(2)
    sae = SAE(config, rows.T.contiguous(), rows, mean, **_RULES[rule](bar))
    return replace(subject, sae=sae, card=subject.card.model_copy(update={"n_features": N_FEATURES}))


def with_config(subject: Subject, **changes: Any) -> Subject:
    """The subject with some of its SAE's configuration changed."""
    config: SaeConfig = replace(subject.sae.config, **changes)
    return replace(subject, sae=replace(subject.sae, config=config))


_RULES: dict[str, Callable[[Tensor], dict[str, Tensor]]] = {
    "standard": lambda bar: {"b_enc": -0.9 * bar},
    "jumprelu": lambda bar: {"b_enc": torch.zeros_like(bar), "threshold": bar},
    "gated": lambda bar: {"b_gate": -bar, "b_mag": -0.1 * bar, "r_mag": torch.full_like(bar, 0.1)},
    "topk": lambda bar: {"b_enc": torch.zeros_like(bar)},
}
