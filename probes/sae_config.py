"""An SAE's configuration as a value: where it reads and writes, by which rule, in which units."""

import re
from dataclasses import dataclass
from typing import Literal

from probes.errors import SubjectError

Architecture = Literal["standard", "topk", "abs_topk", "jumprelu", "gated", "matching_pursuit"]
Normalization = Literal["none", "constant_norm_rescale", "layer_norm"]
Site = Literal[
    "pre",
    "mid",
    "post",
    "attn_out",
    "mlp_out",
    "z",
    "mlp_branch",
    "mlp_norm",
    "mlp_in",
    "mlp_act",
    "attn_module",
    "mlp_module",
]

_NAMES: dict[Site, str] = {
    "pre": "hook_resid_pre",
    "mid": "hook_resid_mid",
    "post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "z": "attn.hook_z",
    "mlp_branch": "hook_mlp_in",
    "mlp_norm": "ln2.hook_normalized",
    "mlp_in": "mlp.hook_in",
    "mlp_act": "mlp.hook_post",
    "attn_module": "attn.output",
    "mlp_module": "mlp.output",
}
"""TransformerLens' names; it has none for the last two, which differ from `..._out` where a norm follows the module."""
_SITES = {name: site for site, name in _NAMES.items()}
_HOOK = re.compile(rf"blocks\.(\d{{1,6}})\.({'|'.join(map(re.escape, _SITES))})")
_STREAM: tuple[Site, ...] = ("pre", "mid", "post", "attn_out", "mlp_out")
"""The residual stream itself, and what is added to it as it is."""
_RESIDUAL: tuple[Site, ...] = ("pre", "mid", "post", "mlp_branch", "attn_out", "mlp_out", "attn_module", "mlp_module")


@dataclass(frozen=True)
class Hook:
    """A place in one of the model's blocks."""

    layer: int
    side: Site
    """`pre`, `mid`, `post`: the residual stream before, within and after the block.
    `attn_out`, `mlp_out`: what is added to it; `attn_module`, `mlp_module`: before the norm that some models put there.
    `z`: what the attention's output projection reads; `mlp_act`: what the MLP's reads.
    `mlp_branch`: a copy of `mid` that only the MLP reads, before its norm; writing there leaves the stream unchanged.
    `mlp_in`: what the MLP reads; `mlp_norm`: the same without the gain of the norm before it."""

    def __str__(self) -> str:
        return f"blocks.{self.layer}.{_NAMES[self.side]}"

    @property
    def is_residual(self) -> bool:
        """Tells whether the hook holds the residual stream or is added to it, so that its directions are the
        stream's.
        """
        return self.side in _RESIDUAL


def parse_hook(name: object) -> Hook:
    """The hook that a name such as `blocks.6.hook_resid_post` means. Raises SubjectError for any other."""
    match = _HOOK.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        known = ", ".join(f"blocks.L.{known}" for known in _NAMES.values())
        raise SubjectError(f"hook {name!r:.100} is not supported; known are {known}.")
    return Hook(int(match[1]), _SITES[match[2]])


def find_hook(text: str) -> Hook | None:
    """The hook that is named within a text, such as a folder's name."""
    match = _HOOK.search(text)
    return Hook(int(match[1]), _SITES[match[2]]) if match else None


@dataclass(frozen=True)
class Pursuit:
    """The end of a matching pursuit, the first that comes."""

    residual_threshold: float
    """When what is left is shorter than this; 0 for never."""
    max_iterations: int
    stops_at_repeats: bool
    """True to end when a feature comes again."""


@dataclass(frozen=True)
class SaeConfig:
    """Everything about an SAE besides its tensors."""

    architecture: Architecture
    """The rule at inference. Batch-top-k and Matryoshka SAEs have a threshold by then, which makes them jumprelu."""
    d_model: int
    """Numbers it reads at a token: the model's d_model, but for `z` and `mlp_act`."""
    n_features: int
    hook: Hook
    """Where it reads."""
    hook_out: Hook | None = None
    """Where it writes, if elsewhere: a transcoder."""
    last_target: int | None = None
    """A cross-layer transcoder's last layer: it has a decoder for `hook_out` and for the same place in each layer up to
    this one. None where it writes at one place."""
    normalization: Normalization = "none"
    subtracts_b_dec: bool = True
    """Whether the decoder's bias is taken off the input."""
    k: int | None = None
    """Features kept by topk, or by abs_topk, whose activations may be negative; only positive ones count as active."""
    pursuit: Pursuit | None = None
    """When matching pursuit ends."""
    scales_by_decoder_norm: bool = False
    """Whether activations are multiplied by the length of decoder rows; topk chooses after that, others before."""
    ranks_by_decoder_norm: bool = False
    """Whether topk keeps what is largest times the length of its decoder row, and gives it without that factor."""
    centres_input: bool = False
    """Whether it was trained on a model with centred weights, whose residual stream has mean 0 over d_model."""
    lacks_input_scale: bool = False
    """Whether it was trained on activations times a constant that its files do not tell."""
    prepends_bos: bool | None = None
    """Whether the texts that it was trained on began with a BOS; None where its files do not say."""
    neuronpedia: str | None = None
    """The SAE's id there, `model/source`."""

    @property
    def writes_to_stream(self) -> bool:
        """Tells whether decoder rows are directions of the residual stream as they stand, alike in every layer."""
        return self.last_target is None and (self.hook_out or self.hook).side in _STREAM

    @property
    def sites(self) -> str:
        """Describes where the SAE reads, and writes if elsewhere; for several places, that what is written is
        summed.
        """
        if self.hook_out is None:
            return str(self.hook)
        summed = "" if self.last_target is None else f" to that of block {self.last_target}, decoders summed"
        return f"{self.hook} -> {self.hook_out}{summed}"
