"""A tiny random Llama as llama.cpp writes one: a GGUF file made by the package `gguf` from one of `tests.subjects`."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import PreTrainedModel

from tests.subjects import VOCAB, model, tokenizer

N_HEADS, N_KV_HEADS = 4, 2
CHAT_TEMPLATE = "{% for message in messages %}<bos>{{ message['content'] }}<eos>{% endfor %}"
_OF_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_CONTROL, _NORMAL = 3, 1


def llama() -> PreTrainedModel:
    """The model that `write_gguf` writes, as it is before."""
    return model("llama")


def write_gguf(
    path: Path,
    architecture: str = "llama",
    quantised: bool = False,
    with_tokenizer: bool = True,
    without: str = "",
    chat_template: str = CHAT_TEMPLATE,
    cut: str = "gpt-2",
    **more: int,
) -> Path:
    """Writes it to `path`, without the tensor named `without`; `quantised` packs in 8 bits what can be.

    `cut` is llama.cpp's name of how text is cut before tokens are merged,
    `more` are whole numbers beside the metadata, a dot in their names written as two underscores.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made, writer = llama(), gguf.GGUFWriter(path, architecture)
    _add_shape(writer, made.config)
    for name, number in more.items():
        writer.add_uint32(name.replace("__", "."), number)
    if with_tokenizer:
        _add_tokenizer(writer, chat_template, cut)
    for name, weights in _tensors(made).items():
        if name != without:
            _add_tensor(writer, name, weights, quantised)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: Any, config: Any) -> None:
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(VOCAB)


def _add_tokenizer(writer: Any, chat_template: str, cut: str) -> None:
    made = tokenizer(bos=False)
    inner = json.loads(made.backend_tokenizer.to_str())["model"]
    tokens = made.convert_ids_to_tokens(range(len(made)))
    special = set(made.all_special_tokens) | {"<unused0>"}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL if token in special else _NORMAL for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in inner["merges"]])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)


def _tensors(made: PreTrainedModel) -> dict[str, np.ndarray]:
    """By llama.cpp's names and in its order of rows."""
    found = {}
    for name, weights in made.state_dict().items():
        array = weights.to(torch.float32).numpy()
        if name.endswith("q_proj.weight"):
            array = _interleaved(array, N_HEADS)
        if name.endswith("k_proj.weight"):
            array = _interleaved(array, N_KV_HEADS)
        found[_name(name)] = array
    return found


def _name(name: str) -> str:
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    layer, _, part = name.removeprefix("model.layers.").partition(".")
    return f"blk.{layer}.{_OF_LAYER[part.removesuffix('.weight')]}.weight"


def _interleaved(weights: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows as llama.cpp's rotary embedding wants them: the halves of each head in turns."""
    heads = weights.reshape(n_heads, 2, len(weights) // n_heads // 2, weights.shape[1])
    return np.ascontiguousarray(heads.swapaxes(1, 2).reshape(weights.shape))


def _add_tensor(writer: Any, name: str, weights: np.ndarray, quantised: bool) -> None:
    packed = gguf.GGMLQuantizationType.Q8_0
    if quantised and weights.ndim == 2 and weights.shape[1] % gguf.GGML_QUANT_SIZES[packed][0] == 0:
        writer.add_tensor(name, gguf.quantize(weights, packed), raw_dtype=packed)
    else:
        writer.add_tensor(name, weights)
