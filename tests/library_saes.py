"""Random SAEs made, saved and run by the libraries that define their formats: each one's own `encode` is what is right.

A library is imported when a case of it is made, so that those that are installed can be had without the others.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

D, N, K = 16, 48, 5
POST = "blocks.1.hook_resid_post"


@dataclass(frozen=True)
class Made:
    """An SAE of a library's, on disk and in memory."""

    path: Path
    features: Tensor
    """Of the inputs, by the library."""
    written: Tensor
    """What it decodes them to."""


@dataclass(frozen=True)
class LibraryCase:
    """An SAE to be made."""

    library: str
    rule: str
    make: Callable[[Path, Tensor], Made]

    @property
    def name(self) -> str:
        """The library and the rule."""
        return f"{self.library}: {self.rule}"


def inputs() -> Tensor:
    return 2 * torch.randn(60, D, generator=torch.Generator().manual_seed(5))


@torch.no_grad()
def randomised(module: nn.Module) -> Any:
    """Every tensor random, decoder rows of very different lengths, thresholds above 0."""
    random = torch.Generator().manual_seed(0)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        drawn = torch.randn(tensor.shape, generator=random)
        last = name.split(".")[-1]
        if "threshold" in last and "log" not in last:
            drawn = drawn.abs() + 0.1
        elif type(module).__name__ == "MatchingPursuitSAE" and name == "W_dec":
            drawn = drawn / drawn.norm(dim=-1, keepdim=True)  # with other lengths it would never end
        elif name in ("W_dec", "decoder.weight", "W_D"):
            drawn = drawn * torch.logspace(-1, 1, N).reshape([N if size == N else 1 for size in drawn.shape])
        tensor.copy_(drawn)
    return module


def _dictionary_learning(kind: str, folder: Path, x: Tensor) -> Made:
    from dictionary_learning import dictionary
    from dictionary_learning.trainers import batch_top_k, matryoshka_batch_top_k, top_k

    more: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "AutoEncoderTopK": (top_k.AutoEncoderTopK, (K,)),
        "BatchTopKSAE": (batch_top_k.BatchTopKSAE, (K,)),
        "MatryoshkaBatchTopKSAE": (matryoshka_batch_top_k.MatryoshkaBatchTopKSAE, (K, [10, N - 10])),
    }
    cls, extra = more.get(kind) or (getattr(dictionary, kind), ())
    folder.mkdir(parents=True)
    torch.save(randomised(cls(D, N, *extra)).state_dict(), folder / "ae.pt")
    trainer = {"dict_class": kind, "activation_dim": D, "dict_size": N, "layer": 1, "lm_name": "m", "k": K}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"io": "out"}}))
    loaded = cls.from_pretrained(folder / "ae.pt")
    features = loaded.encode(x)
    return Made(folder, features, loaded.decode(features))


def _sae_lens(kind: str, flags: dict[str, Any], folder: Path, x: Tensor) -> Made:
    import sae_lens

    cls, config_cls = sae_lens.registry.get_sae_class(kind)
    names = {"hook_name": POST, **({"hook_name_out": "blocks.1.hook_mlp_out"} if "transcoder" in kind else {})}
    config = config_cls(d_in=D, d_sae=N, metadata=sae_lens.saes.sae.SAEMetadata(**names), **flags)
    made = randomised(cls(config))
    made.save_model(folder)
    loaded = cls.load_from_disk(folder)
    return Made(folder, loaded.encode(x), loaded.forward(x))


def _sae_lens_trained(kind: str, flags: dict[str, Any], checkpoint: bool, folder: Path, x: Tensor) -> Made:
    """Makes an SAE that SAELens trains under one rule and runs under another; a checkpoint is its training's own file.

    The library's numbers are always those of the SAE that it saves for use.
    """
    import sae_lens

    cls, config_cls = sae_lens.registry.get_sae_training_class(kind)
    more = {"matryoshka_widths": [10, N]} if kind.startswith("matryoshka") else {}
    metadata = sae_lens.saes.sae.SAEMetadata(hook_name=POST)
    made = randomised(cls(config_cls(d_in=D, d_sae=N, k=K, metadata=metadata, **more, **flags)))
    made.topk_threshold.fill_(3.0)
    used = folder.with_name("used")
    made.save_inference_model(used)
    if checkpoint:
        made.save_model(folder)
    loaded = sae_lens.SAE.load_from_disk(used)
    return Made(folder if checkpoint else used, loaded.encode(x), loaded.forward(x))


def _sparsify(flags: dict[str, bool], folder: Path, x: Tensor) -> Made:
    import sparsify

    coder = randomised(sparsify.SparseCoder(D, sparsify.SparseCoderConfig(num_latents=N, k=K, **flags)))
    path = folder / ("layers.1.mlp" if flags else "layers.1")
    coder.save_to_disk(path)
    found = coder.encode(x)
    features = torch.zeros(len(x), N).scatter(-1, found.top_indices, found.top_acts)
    written = coder.decode(found.top_acts, found.top_indices)
    return Made(path, features, written if coder.W_skip is None else written + x @ coder.W_skip.mT)


def _llama_scope(flags: dict[str, Any], folder: Path, x: Tensor) -> Made:
    """The library has renamed tensors and files since Llama Scope; what it computes with them it has not changed."""
    from llamascopium.models.sae import SAEConfig, SparseAutoEncoder

    config = SAEConfig(d_model=D, expansion_factor=N / D, hook_point_in=POST, hook_point_out=POST, top_k=K, **flags)
    made = randomised(SparseAutoEncoder(config))
    threshold = 0.7
    if flags["act_fn"] == "jumprelu":
        nn.init.constant_(made.activation_function.log_jumprelu_threshold, torch.tensor(threshold).log().item())
    norm = 6.0
    made.set_dataset_average_activation_norm({POST: norm})
    tensors = {"encoder.weight": made.W_E.T, "encoder.bias": made.b_E, "decoder.weight": made.W_D.T}
    tensors |= {"decoder.bias": made.b_D} if config.use_decoder_bias else {}
    (folder / "checkpoints").mkdir(parents=True)
    stored = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(stored, folder / "checkpoints" / "final.safetensors")
    more = {"jump_relu_threshold": threshold, "dataset_average_activation_norm": {"in": norm, "out": norm}}
    sizes = {"d_model": D, "d_sae": N, "top_k": K, "hook_point_in": POST, "hook_point_out": POST}
    (folder / "hyperparams.json").write_text(json.dumps({**sizes, **flags, **more}))
    normed, factors = made.normalize_activations({POST: x}, return_scale_factor=True)
    features = made.encode(normed[POST])
    return Made(folder, features, made.decode(features) / factors[POST])


def _cases() -> Iterator[LibraryCase]:
    for kind in (
        "AutoEncoder",
        "AutoEncoderNew",
        "GatedAutoEncoder",
        "JumpReluAutoEncoder",
        "AutoEncoderTopK",
        "BatchTopKSAE",
        "MatryoshkaBatchTopKSAE",
    ):
        yield LibraryCase("dictionary_learning", kind, partial(_dictionary_learning, kind))
    rules: list[tuple[str, dict[str, Any]]] = [
        ("standard", {}),
        ("jumprelu", {}),
        ("gated", {}),
        ("topk", {"k": K}),
        ("topk", {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("abstopk", {"k": K}),
        ("abstopk", {"k": K, "rescale_acts_by_decoder_norm": True}),
        ("matching_pursuit", {"residual_threshold": 0.5}),
        ("matching_pursuit", {"max_iterations": 4, "stop_on_duplicate_support": False}),
    ]
    norms = ("none", "constant_norm_rescale", "layer_norm")
    for (kind, own), norm, subtracts in product(rules, norms, (True, False)):
        flags = {**own, "normalize_activations": norm, "apply_b_dec_to_input": subtracts}
        yield LibraryCase("sae_lens", _called(kind, flags), partial(_sae_lens, kind, flags))
    of_trained = product(("batchtopk", "matryoshka_batchtopk"), (True, False), norms, (True, False), (True, False))
    for kind, by_norm, norm, subtracts, checkpoint in of_trained:
        flags = {"rescale_acts_by_decoder_norm": by_norm}
        flags |= {"normalize_activations": norm, "apply_b_dec_to_input": subtracts}
        name = _called(kind, {**flags, "checkpoint": checkpoint})
        yield LibraryCase("sae_lens", name, partial(_sae_lens_trained, kind, flags, checkpoint))
    for kind in ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"):
        flags = {"d_out": D, "apply_b_dec_to_input": False}
        yield LibraryCase("sae_lens", kind, partial(_sae_lens, kind, flags))
    for coder in ({}, {"transcode": True}, {"transcode": True, "skip_connection": True}):
        yield LibraryCase("sparsify", _called("topk", coder), partial(_sparsify, coder))
    scaled = ("dataset-wise", "inference", "token-wise")
    scope = product(("relu", "topk", "jumprelu"), (True, False), scaled, (True, False))
    for rule, by_norm, norm, biased in scope:
        chosen = {"sparsity_include_decoder_norm": by_norm, "norm_activation": norm, "use_decoder_bias": biased}
        flags = {"act_fn": rule, **chosen}
        yield LibraryCase("llamascopium", _called(rule, chosen), partial(_llama_scope, flags))


def _called(rule: str, flags: dict[str, Any]) -> str:
    return ", ".join([rule, *(f"{name} {str(value).lower()}" for name, value in flags.items())])


CASES = [*_cases()]
