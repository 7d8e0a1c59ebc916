"""Checks that an SAE fits what it is given to read, before a long pass is spent on it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eval.collect.windows import WindowBatch
from eval.errors import ExamplesError
from probes.hooks.activations import residual
from probes.model.structure import n_layers
from probes.sae_config import Hook
from probes.subject import Subject

MIN_EXPLAINED = 0.2
"""Published SAEs explain .6 and more. At another layer, scale or model the figure is mostly far below 0, since what is
decoded is not even of the right size."""
MAX_ACTIVE_SHARE = 0.2
"""Published SAEs activate a few percent of their features on a token; half of them is what a random direction gives."""

ENOUGH = 32
"""Tokens below which the variance says too little to refuse."""
_ELEMENTS = 1 << 22
_TOKENS = 512
"""The check looks at as many tokens as make so many numbers, and at no fewer than these."""
_SCALES = (0.05, 0.1, 0.2, 0.5, 2.0, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class SelfCheck:
    """Figures of the SAE on the first batch, over all of its features, special tokens left out."""

    l0: float
    """Features that activate per token."""
    explained_variance: float | None
    """1 - |x - x'|^2 / |x - mean x|^2, both summed over tokens; None where all x are the same, and of a cross-layer
    transcoder, of which one layer alone explains nothing."""
    n_tokens: int

    @property
    def tells(self) -> bool:
        """Tells whether there are tokens enough to refuse an SAE by."""
        return self.n_tokens >= ENOUGH


@torch.inference_mode()
def self_check(subject: Subject, batch: WindowBatch) -> SelfCheck:
    """The check, at the SAE's own hook. Raises ExamplesError, with the likely cause, where the figures are absurd."""
    check = measured(subject, batch)
    if _fits(check, subject.card.n_features):
        return check
    explained = "nothing" if check.explained_variance is None else f"{check.explained_variance:.2f} of the variance"
    active = f"{check.l0:,.1f} of {subject.card.n_features:,} features"
    raise ExamplesError(
        f"The SAE does not fit what it reads: over {check.n_tokens:,} tokens at {subject.sae.config.sites} it explains "
        f"{explained} (at least {MIN_EXPLAINED} is expected) with {active} active per token (more than 0 and at most "
        f"{MAX_ACTIVE_SHARE:.0%} are expected); {_likely_cause(subject, batch)}."
    )


@torch.inference_mode()
def measured(subject: Subject, batch: WindowBatch) -> SelfCheck:
    """The figures, at the SAE's own hooks, whatever they are."""
    return _measured(subject, batch, subject.sae.config.hook)


def _states(subject: Subject, batch: WindowBatch, hook: Hook) -> Float[Tensor, "n d_model"]:
    """Returns the model's states at the tokens that count; the pass reports those that are not finite."""
    n_tokens = max(_TOKENS, _ELEMENTS // subject.card.n_features)
    n_rows = int(batch.counted.sum(axis=1).cumsum().searchsorted(n_tokens)) + 1  # the others are not looked at
    ids = torch.from_numpy(batch.ids[:n_rows]).to(subject.model.device)
    counted = torch.from_numpy(batch.counted[:n_rows]).to(subject.model.device)
    return residual(subject.model, ids, hook)[counted][:n_tokens].float()


def _measured(subject: Subject, batch: WindowBatch, hook: Hook, scale: float = 1.0) -> SelfCheck:
    """The figures with the SAE reading `scale` times what is at `hook`."""
    sae, x = subject.sae, _states(subject, batch, hook) * scale
    y = x if sae.config.hook_out is None else _states(subject, batch, sae.config.hook_out)
    if sae.config.centres_input:
        y = y - y.mean(-1, keepdim=True)
    whole = x.isfinite().all(-1) & y.isfinite().all(-1)
    x, y = x[whole], y[whole]
    variance = float((y - y.mean(0)).square().sum()) if len(y) else 0.0
    error = float((sae.reconstruct(x) - y).square().sum())
    return SelfCheck(
        l0=float((sae.encode(x) > 0).sum(-1).float().mean()),
        explained_variance=1 - error / variance if variance and sae.config.last_target is None else None,
        n_tokens=len(x),
    )


def _fits(check: SelfCheck, n_features: int) -> bool:
    explains = check.explained_variance is None or check.explained_variance >= MIN_EXPLAINED
    return 0 < check.l0 <= MAX_ACTIVE_SHARE * n_features and (explains or not check.tells)


def _likely_cause(subject: Subject, batch: WindowBatch) -> str:
    """The change that would make it fit best, by trying."""
    here = subject.sae.config.hook
    tried = dict(_trials(subject, batch, here))
    good = {cause: check for cause, check in tried.items() if _fits(check, subject.card.n_features)}
    if not good:
        return "the likely cause is another model, or another checkpoint of it, than the SAE was trained on"
    return max(good, key=lambda cause: good[cause].explained_variance or 0)


def _trials(subject: Subject, batch: WindowBatch, here: Hook) -> Iterator[tuple[str, SelfCheck]]:
    for scale in _SCALES:  # the share explained of a scaled x compares with that of x
        asked = subject.card.sae_input_scale * scale
        cause = (
            f"with activations {scale:g} times as large it fits, so the normalisation is likely wrong; try "
            f"--input-scale {asked:.3g}, or auto"
        )
        yield cause, _measured(subject, batch, here, scale)
    if here.side not in ("pre", "post"):
        return
    for layer in range(n_layers(subject.model)):
        hook = Hook(layer, here.side)
        if hook != here:
            cause = f"at {hook} it fits, so the layer is likely wrong"
            yield cause, _measured(subject, batch, hook)
