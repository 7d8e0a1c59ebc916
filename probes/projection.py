"""The vocabulary projection: what a feature's decoder row does to the next token if nothing came after it.

VocabProj of Gur-Arieh et al., "Enhancing Automated Interpretability with Output-Centric Feature Descriptions" (2025):
the row goes through the model's final norm and its unembedding, and the tokens at both ends are kept.
Depends on no vector or tree setting; the field's usual baseline.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from probes.evidence import Evidence, ProbeRequest, Projection, ScoredToken
from probes.ghost.vectors import has_direction, resolved
from probes.model.structure import final_norm_of
from probes.subject import Subject

SHOWN = 20
"""Tokens at each end."""
FEATURES_AT_ONCE = 128
VOCAB_BLOCK = 32768


def probe(subject: Subject, requests: Sequence[ProbeRequest]) -> list[Evidence]:
    """One projection per request, in their order. A feature without a decoder row gets an empty one."""
    features = [request.feature for request in requests]
    ends = [
        end
        for start in range(0, len(features), FEATURES_AT_ONCE)
        for end in _ends(subject, features[start : start + FEATURES_AT_ONCE])
    ]
    return [
        Projection(request.feature, resolved(subject, request.settings), top=top, bottom=bottom)
        for request, (top, bottom) in zip(requests, ends, strict=True)
    ]


def _ends(subject: Subject, features: Sequence[int]) -> list[tuple[tuple[ScoredToken, ...], tuple[ScoredToken, ...]]]:
    """Highest tokens, highest first, and lowest tokens, lowest first."""
    rows = subject.decoder_rows(features)
    logits = project(subject, rows)
    shown = min(SHOWN, logits.shape[1])
    top, bottom = logits.topk(shown, dim=1), logits.topk(shown, dim=1, largest=False)
    return [
        (_scored(subject, top.values[i], top.indices[i]), _scored(subject, bottom.values[i], bottom.indices[i]))
        if lives
        else ((), ())
        for i, lives in enumerate(has_direction(rows).tolist())
    ]


@torch.inference_mode()
def project(subject: Subject, rows: Float[Tensor, "n d_model"]) -> Float[Tensor, "n vocab"]:
    """Logits of `rows` through the final norm and the unembedding, in float32.

    An RMS norm takes away a row's length and weighs its dimensions, a layer norm also takes away its mean and adds its
    bias; so only the row's direction counts. The unembedding's own bias, the same for every feature, and any capping of
    logits, which keeps their order, are left out.
    """
    norm, unembedding = final_norm_of(subject.model), subject.model.get_output_embeddings()
    unit_rms = (
        rows * rows.shape[1] ** 0.5 / rows.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    )  # so the norm's epsilon is nothing
    weights = _in_float32(norm)
    weight: Tensor = unembedding.weight
    there = next(iter(weights.values()), rows).device  # a model may lie on several devices
    normed = functional_call(norm, weights, (unit_rms.to(there),)).to(weight.device)
    logits = torch.cat([normed @ block.float().T for block in torch.split(weight, VOCAB_BLOCK)], dim=1)
    return logits.to(rows.device)


def _in_float32(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.float() for name, parameter in module.named_parameters()}


def _scored(subject: Subject, scores: Float[Tensor, " shown"], ids: Tensor) -> tuple[ScoredToken, ...]:
    pairs = zip(ids.tolist(), scores.tolist(), strict=True)
    return tuple(ScoredToken(id, subject.text_of(id), score) for id, score in pairs)
