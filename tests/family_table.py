"""Every family of causal language models that is tested here: a tiny configuration of its own kind, and its names."""

from dataclasses import dataclass, field
from typing import Any

from tests.subjects import VOCAB

D_MODEL = 32
LAYERS = 3
PADDED = 352
"""Rows of an embedding matrix with more of them than the tokenizer has tokens."""


@dataclass(frozen=True)
class Family:
    """One family: its configuration, and the names of its blocks' parts."""

    config: dict[str, Any]
    attention: str = "self_attn"
    mlp: str | None = "mlp"
    """None where the MLP is no module of its own."""
    z: str | None = "self_attn.o_proj"
    """The attention's output projection."""
    mlp_act: str | None = "mlp.down_proj"
    """The MLP's; None where experts have one each."""
    after_attention: str | None = None
    """The norm behind the attention, if what is added to the stream comes out of one."""
    refuses: frozenset[str] = field(default=frozenset())
    """Sites within a block that have no meaning in it."""
    bos: bool = True
    reserved: bool = True
    """Whether the tokenizer has an unused token."""
    notes: str = ""


_SIZE = {"num_hidden_layers": LAYERS, "hidden_size": D_MODEL, "num_attention_heads": 4, "max_position_embeddings": 128}
_IDS = {"vocab_size": VOCAB, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_BASE = {**_SIZE, **_IDS, "intermediate_size": 48}
_GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
_KV = {"num_key_value_heads": 2}
_WINDOW = {"sliding_window": 8}
"""Shorter than any prompt here, so that windows matter."""
_UNTIED = {"tie_word_embeddings": False}
_TIED = {"tie_word_embeddings": True}
_GPT = {"n_embd": D_MODEL, "n_layer": LAYERS, "n_head": 4, "n_positions": 128, **_IDS}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
_ALTERNATING = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_LINEAR_THEN_FULL = {"layer_types": ["linear_attention", "linear_attention", "full_attention"]}
_ENDS_FULL = {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
_SHARES_KEYS = {"layer_types": ["sliding_attention", "full_attention", "full_attention"], "num_kv_shared_layers": 1}
_VISION = {"hidden_size": 16, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 16}

_SUM = frozenset({"attn_out", "mlp_out"})
_MLP = frozenset({"mlp_module", "mlp_in", "mlp_act", "mid"})
_PARALLEL = frozenset({"mid"})
_AFTER = "post_attention_layernorm"


def _gemma3(**more: Any) -> dict[str, Any]:
    return {**_BASE, **_GROUPED, **_WINDOW, "query_pre_attn_scalar": 8, "sliding_window_pattern": 2, **more}


def _per_layer(**more: Any) -> dict[str, Any]:
    tables = {"vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 8}
    return {**_BASE, **_GROUPED, **_WINDOW, **_SHARES_KEYS, **tables, **more}


FAMILIES: dict[str, Family] = {
    "gemma": Family({"model_type": "gemma", **_BASE, **_GROUPED}, notes="scaled embedding, tied"),
    "gemma2": Family(
        {"model_type": "gemma2", **_BASE, **_GROUPED, **_WINDOW, "query_pre_attn_scalar": 8},
        after_attention=_AFTER,
        notes="capped logits, windows",
    ),
    "gemma3": Family({"model_type": "gemma3_text", **_gemma3()}, after_attention=_AFTER, notes="windows"),
    "gemma3 multimodal": Family(
        {
            "model_type": "gemma3",
            "text_config": _gemma3(),
            "vision_config": {**_VISION, "image_size": 28, "patch_size": 14},
        },
        after_attention=_AFTER,
        notes="text part, beside as many layers that see",
    ),
    "gemma3n": Family(
        {
            "model_type": "gemma3n_text",
            **_per_layer(laurel_rank=4, activation_sparsity_pattern=[0.0] * LAYERS),
        },
        refuses=_SUM | {"mid"},
        notes="per-layer table, 4 streams: the active one is read",
    ),
    "gemma4": Family(
        {"model_type": "gemma4_text", **_per_layer(global_head_dim=16)},
        after_attention=_AFTER,
        refuses=_SUM,
        notes="per-layer table, layers that share keys and values",
    ),
    "llama": Family({"model_type": "llama", **_BASE, **_GROUPED, **_UNTIED}),
    "llama4": Family(
        {
            "model_type": "llama4_text",
            **_BASE,
            **_GROUPED,
            **_UNTIED,
            "intermediate_size_mlp": 48,
            "num_local_experts": 2,
            "attention_chunk_size": 8,
            "no_rope_layers": [1, 1, 0],
            "layer_types": ["chunked_attention", "chunked_attention", "full_attention"],
        },
        mlp="feed_forward",
        mlp_act=None,
        refuses=frozenset({"mlp_module", "mlp_out"}),
        notes="experts, attention in chunks",
    ),
    "qwen2": Family({"model_type": "qwen2", **_BASE, **_GROUPED, **_TIED}, bos=False, notes="tied, no BOS"),
    "qwen3": Family(
        {"model_type": "qwen3", **_BASE, **_GROUPED, **_UNTIED, "vocab_size": PADDED},
        bos=False,
        reserved=False,
        notes="more rows than tokens, no BOS",
    ),
    "qwen3 moe": Family(
        {"model_type": "qwen3_moe", **_BASE, **_GROUPED, **_UNTIED, **_EXPERTS}, mlp_act=None, notes="experts"
    ),
    "mistral": Family({"model_type": "mistral", **_BASE, **_GROUPED, **_WINDOW, **_UNTIED}, notes="windows"),
    "mixtral": Family(
        {"model_type": "mixtral", **_BASE, **_GROUPED, **_UNTIED, "num_local_experts": 4},
        mlp_act=None,
        notes="experts",
    ),
    "gpt2": Family(
        {"model_type": "gpt2", **_GPT, **_TIED},
        attention="attn",
        z="attn.c_proj",
        mlp_act="mlp.c_proj",
        bos=False,
        notes="learned positions, tied, no BOS",
    ),
    "gpt-neox": Family(
        {"model_type": "gpt_neox", **_BASE, **_UNTIED, "vocab_size": PADDED},
        attention="attention",
        z="attention.dense",
        mlp_act="mlp.dense_4h_to_h",
        refuses=_PARALLEL,
        bos=False,
        reserved=False,
        notes="as Pythia: parallel blocks, more rows than tokens",
    ),
    "gpt-j": Family(
        {"model_type": "gptj", **_GPT, **_UNTIED, "rotary_dim": 4},
        attention="attn",
        z="attn.out_proj",
        mlp_act="mlp.fc_out",
        refuses=_PARALLEL,
        notes="parallel blocks, unembedding with a bias",
    ),
    "phi": Family(
        {"model_type": "phi", **_BASE, **_UNTIED},
        z="self_attn.dense",
        mlp_act="mlp.fc2",
        refuses=_PARALLEL,
        notes="parallel blocks, unembedding with a bias",
    ),
    "phi3": Family(
        {"model_type": "phi3", **_BASE, **_KV, **_UNTIED, **_WINDOW, "original_max_position_embeddings": 128},
        notes="windows",
    ),
    "olmo": Family({"model_type": "olmo", **_BASE, **_UNTIED}, notes="norms without weights"),
    "olmo2": Family(
        {"model_type": "olmo2", **_BASE, **_KV, **_UNTIED}, after_attention=_AFTER, notes="norms behind only"
    ),
    "olmo3": Family(
        {"model_type": "olmo3", **_BASE, **_KV, **_UNTIED, **_WINDOW},
        after_attention=_AFTER,
        notes="norms behind only, windows",
    ),
    "olmoe": Family(
        {"model_type": "olmoe", **_BASE, **_KV, **_UNTIED, "num_experts": 4, "num_experts_per_tok": 2},
        mlp_act=None,
        notes="experts",
    ),
    "stablelm": Family({"model_type": "stablelm", **_BASE, **_KV, **_UNTIED}),
    "falcon": Family(
        {"model_type": "falcon", **_SIZE, **_IDS, **_UNTIED},
        attention="self_attention",
        z="self_attention.dense",
        mlp_act="mlp.dense_4h_to_h",
        refuses=_SUM | _PARALLEL,
        notes="parallel blocks",
    ),
    "opt": Family(
        {"model_type": "opt", **_SIZE, **_IDS, **_TIED, "ffn_dim": 48, "word_embed_proj_dim": D_MODEL},
        mlp=None,
        z="self_attn.out_proj",
        mlp_act=None,
        refuses=_SUM | _MLP,
        notes="learned positions from 2 on; its MLP is no module",
    ),
    "bloom": Family(
        {"model_type": "bloom", "hidden_size": D_MODEL, "n_layer": LAYERS, "n_head": 4, **_IDS, **_TIED},
        attention="self_attention",
        z="self_attention.dense",
        mlp_act="mlp.dense_4h_to_h",
        refuses=_SUM | {"mid"},
        notes="positions by alibi, a norm behind the embedding",
    ),
    "smollm3": Family(
        {"model_type": "smollm3", **_BASE, **_KV, **_UNTIED, "no_rope_layers": [1, 1, 0]}, notes="a layer without rope"
    ),
    "granite": Family(
        {
            "model_type": "granite",
            **_BASE,
            **_KV,
            **_UNTIED,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.3,
            "logits_scaling": 2.0,
            "attention_multiplier": 0.3,
        },
        refuses=_SUM | {"mid"},
        notes="scaled embedding, residuals and logits",
    ),
    "cohere": Family(
        {"model_type": "cohere", **_BASE, **_KV, **_TIED, "logit_scale": 0.25},
        refuses=_PARALLEL,
        notes="scaled logits, parallel blocks",
    ),
    "cohere2": Family(
        {"model_type": "cohere2", **_BASE, **_GROUPED, **_WINDOW, **_TIED, **_ENDS_FULL, "logit_scale": 0.25},
        refuses=_PARALLEL,
        notes="scaled logits, windows, parallel blocks",
    ),
    "deepseek v3": Family(
        {
            "model_type": "deepseek_v3",
            **_BASE,
            **_UNTIED,
            **_EXPERTS,
            **_LATENT,
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        },
        mlp_act=None,
        notes="keys and values of different widths, experts",
    ),
    "glm4": Family({"model_type": "glm4", **_BASE, **_GROUPED, **_UNTIED}, after_attention="post_self_attn_layernorm"),
    "starcoder2": Family(
        {"model_type": "starcoder2", **_BASE, **_KV, **_UNTIED, **_WINDOW}, mlp_act="mlp.c_proj", notes="windows"
    ),
    "gpt-oss": Family(
        {
            "model_type": "gpt_oss",
            **_BASE,
            **_GROUPED,
            **_WINDOW,
            **_ALTERNATING,
            **_UNTIED,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        mlp_act=None,
        notes="attention sinks, experts, windows",
    ),
}

_LINEAR = {f"linear_{part}": number for part, number in {"num_key_heads": 2, "num_value_heads": 2}.items()}
RECURRENT: dict[str, dict[str, Any]] = {
    "mamba": {"model_type": "mamba", **_SIZE, **_IDS, "state_size": 4},
    "rwkv": {"model_type": "rwkv", **_SIZE, **_IDS, "attention_hidden_size": D_MODEL},
    "jamba": {
        "model_type": "jamba",
        **_BASE,
        **_KV,
        "num_experts": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "mamba_dt_rank": 4,
    },
    "qwen3-next": {
        "model_type": "qwen3_next",
        **_BASE,
        **_GROUPED,
        **_EXPERTS,
        **_LINEAR,
        "shared_expert_intermediate_size": 16,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        **_LINEAR_THEN_FULL,
    },
    "qwen3.5": {"model_type": "qwen3_5_text", **_BASE, **_GROUPED, **_LINEAR_THEN_FULL},
}
"""Families that carry a state from token to token, of which no tree of keys and values can be grown."""
