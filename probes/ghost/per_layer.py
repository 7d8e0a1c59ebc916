"""Measures the effect of the row that a second table finds for a ghost, in models that look ids up twice (Gemma
3n, 4).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn.functional import kl_div

from probes.ghost.vectors import feature_vectors
from probes.presets import PerLayer
from probes.settings import PROMPTS, VOCABULARY, VectorSettings
from probes.subject import Subject
from probes.tokenizer.prompt import prompt_ids

N_FEATURES = 16
"""Whose ghosts are looked at: the first of the SAE."""


def fed(subject: Subject, choice: int | PerLayer) -> Subject:
    """The subject whose second table, if it has one, finds this for a ghost."""
    if subject.card.per_layer is None:
        return subject
    return replace(subject, card=subject.card.model_copy(update={"per_layer": choice}))


@torch.inference_mode()
def per_layer_effects(subject: Subject, choices: Sequence[int | PerLayer]) -> dict[int | PerLayer, float]:
    """Each choice against the placeholder's row: mean KL divergence, in nats, of the token after the definition prompt.

    Over the ghosts of some features.
    """
    prompt = prompt_ids(subject.tokenizer, PROMPTS["definition"], subject.card.placeholder_id)
    features = range(min(N_FEATURES, subject.card.n_features))
    ghosts = feature_vectors(subject, features, VectorSettings(weights=VOCABULARY)) * subject.input_scale
    ids = torch.tensor([prompt.ids]).expand(len(ghosts), -1).to(subject.model.device)

    def after(choice: int | PerLayer) -> torch.Tensor:
        with fed(subject, choice).ghosts_at(prompt.ghost_position, ghosts):
            logits: torch.Tensor = subject.model(ids).logits[:, -1]
        return logits.float().log_softmax(dim=-1)

    base = after("placeholder")
    return {choice: float(kl_div(after(choice), base, log_target=True, reduction="batchmean")) for choice in choices}
