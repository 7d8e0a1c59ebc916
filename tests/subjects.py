"""Tiny subjects made from dicts: random models of many families, a tokenizer made on the fly, a random SAE, in folders
laid out as the real ones are."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from probes.presets import SubjectSource
from probes.subject import Subject, load_subject

VOCAB = 320
D_MODEL = 32
LAYERS = 3
N_FEATURES = 24
LOGIT_STD = 3.5

_SHAPE = {
    "hidden_size": D_MODEL,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}
_APART = {"tie_word_embeddings": False}
"""A random model with tied embeddings repeats its last token for ever; the two of Gemma that cap or window do not."""
_GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
_WINDOW = {"sliding_window": 8, "query_pre_attn_scalar": 8}
"""Shorter than any prompt here, so that windows matter."""

FAMILIES: dict[str, dict[str, Any]] = {
    "gemma": {"model_type": "gemma", **_SHAPE, **_APART, "num_key_value_heads": 1, "head_dim": 8},
    "gemma2": {"model_type": "gemma2", **_SHAPE, **_GROUPED, **_WINDOW},
    "gemma3": {"model_type": "gemma3_text", **_SHAPE, **_GROUPED, **_WINDOW, "sliding_window_pattern": 2},
    "llama": {"model_type": "llama", **_SHAPE, **_GROUPED, **_APART},
    "gpt2": {"model_type": "gpt2", "n_embd": D_MODEL, "n_layer": LAYERS, "n_head": 4, "n_positions": 128, **_APART},
    "gpt_neox": {"model_type": "gpt_neox", **_SHAPE},
    "qwen2": {"model_type": "qwen2", **_SHAPE, **_GROUPED},
    "qwen3": {"model_type": "qwen3", **_SHAPE, **_GROUPED},
}

_TEXT = [
    'A typical definition of "word" would be "a small furry animal that lives in the house".',
    "the cat sat on the mat and the dog ran after the ball in the garden of the old house",
    "a typical small thing of the kind that one would like to be or to have",
]


def tokenizer(vocab: int = VOCAB, bos: bool = True, reserved: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a few sentences; `reserved` gives it an `<unused0>`."""
    inner = Tokenizer(BPE(unk_token=None))
    inner.pre_tokenizer, inner.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    special = ["<pad>", "<bos>", "<eos>", *(["<unused0>"] if reserved else [])]
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(_TEXT, trainer)
    if bos:
        inner.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


def model(family: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A random model whose next-token distributions are peaky enough to give deep trees."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**{**FAMILIES[family], "vocab_size": VOCAB, **_TOKEN_IDS, **changes})
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if parameter.ndim == 1:  # norms and biases too differ from nothing
                parameter.add_(0.1 * torch.randn_like(parameter))
            elif "embed" not in name and "wte" not in name:
                parameter.mul_(8)
        ids = torch.randint(VOCAB, (4, 32))
        for _ in range(4):  # more than once: where embeddings are tied the inputs change with the outputs
            made.get_output_embeddings().weight.mul_(LOGIT_STD / made(ids).logits.std())
    return made.eval()


_TOKEN_IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def sae_tensors(d_model: int = D_MODEL, n_features: int = N_FEATURES, seed: int = 1) -> dict[str, torch.Tensor]:
    """A random standard SAE's weights; its last feature is dead: nothing but zeros."""
    random = torch.Generator().manual_seed(seed)
    tensors = {
        "W_enc": torch.randn(d_model, n_features, generator=random),
        "W_dec": torch.randn(n_features, d_model, generator=random),
        "b_enc": torch.randn(n_features, generator=random),
        "b_dec": torch.randn(d_model, generator=random),
    }
    tensors["W_enc"][:, -1] = 0
    tensors["W_dec"][-1] = 0
    return tensors


def sae_config(**changes: Any) -> dict[str, Any]:
    """A `cfg.json` as SAELens 6 writes it."""
    config = {
        "architecture": "standard",
        "d_in": D_MODEL,
        "d_sae": N_FEATURES,
        "dtype": "float32",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"model_name": "tiny", "hook_name": "blocks.1.hook_resid_post", "prepend_bos": True},
    }
    return config | changes


def write_sae(folder: Path, config: dict[str, Any] | None = None, **tensors: torch.Tensor) -> Path:
    """A SAELens folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cfg.json").write_text(json.dumps(config or sae_config()))
    save_file({**sae_tensors(), **tensors}, folder / "sae_weights.safetensors")
    return folder


def write_model(folder: Path, family: str = "gemma", vocab: int = VOCAB, **changes: Any) -> Path:
    """A model folder as transformers saves it, with its tokenizer."""
    model(family, **changes).save_pretrained(folder)
    tokenizer(vocab).save_pretrained(folder)
    return folder


def tiny_subject(folder: Path, family: str = "gemma", device: str = "cpu") -> Subject:
    """A subject of that family, written to `folder` and loaded from there in float32."""
    places = {"model": str(write_model(folder / "model", family)), "sae": str(write_sae(folder / "sae"))}
    return load_subject(SubjectSource.parse({**places, "device": device, "dtype": "float32"}))
