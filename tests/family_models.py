"""Tiny random models of any configuration, and subjects of them as they lie in folders."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from probes.model.structure import final_norm_of
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from tests.family_table import Family
from tests.subjects import LOGIT_STD, tokenizer, write_sae


def random_model(config: dict[str, Any], seed: int = 0) -> PreTrainedModel:
    """A random model whose next-token distributions are peaked enough to give deep trees."""
    torch.manual_seed(seed)
    made: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).eval()
    vocab = made.config.get_text_config(decoder=True).vocab_size
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1:  # norms and biases too differ from nothing
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "altup" in name:
                parameter.mul_(64)  # streams that hardly mix otherwise
            elif "per_layer" in name or not any(word in name for word in ("embed", "wte")):
                parameter.mul_(8)
        _flip(final_norm_of(made))
        ids = torch.randint(3, vocab, (4, 32))
        for _ in range(4):  # more than once: where embeddings are tied the inputs change with the outputs
            made.get_output_embeddings().weight.mul_(LOGIT_STD / made(ids).logits.std())
    return made


def _flip(norm: nn.Module) -> None:
    """Random signs of the final norm's gain: without them a tied model repeats its last token for ever."""
    weight = getattr(norm, "weight", None)
    if weight is None:
        return
    signs = torch.randint(0, 2, weight.shape) * 2 - 1
    stores_less_one = float(weight.mean()) < 0.5
    weight.copy_(signs * (1 + weight) - 1 if stores_less_one else signs * weight)


def family_source(folder: Path, family: Family, **more: str) -> SubjectSource:
    """The family's random model, a tokenizer and a random SAE, written to `folder` as published ones are laid out."""
    random_model(family.config).save_pretrained(folder / "model")
    tokenizer(bos=family.bos, reserved=family.reserved).save_pretrained(folder / "model")
    write_sae(folder / "sae")
    return SubjectSource.parse({"model": str(folder / "model"), "sae": str(folder / "sae"), "device": "cpu", **more})


def family_subject(folder: Path, family: Family, **more: str) -> Subject:
    """That subject, loaded."""
    return load_subject(family_source(folder, family, **more))
