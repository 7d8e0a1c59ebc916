"""Finds the hook of a dictionary of dictionary_learning from a submodule's name, which is free text, and its end.

The library reads a module's input or output, as `buffer.io` says, and keeps whatever name its user gave the module. So
a name has to say a place in full, and both have to agree; what does not is refused, since an SAE read elsewhere gives
numbers that look right.
"""

import re
from typing import Any

from probes.errors import SubjectError
from probes.sae_config import Hook, Site, find_hook

_ENDS = ("in", "out")
_FILLERS = frozenset(
    ["layer", "layers", "block", "blocks", "model", "transformer", "gpt", "neox", "h", "l", "hook", "submodule"]
)
"""Words of a name that tell no place: those around a layer's number, and of the path to it."""

_BLOCK = ("", "resid", "residual", "resid_post", "residual_post", "resid_out", "residual_out", "resid_stream")
_MLP = ("mlp", "mlp_out", "mlp_output", "feed_forward", "ffn")
_ATTENTION = tuple(f"{name}{end}" for name in ("attn", "attention", "self_attn") for end in ("", "_out", "_output"))
_DOWN = ("mlp_down_proj", "mlp_c_proj", "down_proj")
_OUT = ("attn_o_proj", "self_attn_o_proj", "attn_c_proj", "o_proj")
_MODULES: dict[str, dict[str, Site]] = {
    **{name: {"in": "pre", "out": "post"} for name in _BLOCK},
    **{name: {"in": "mlp_in", "out": "mlp_module"} for name in _MLP},
    **{name: {"out": "attn_module"} for name in _ATTENTION},
    **{name: {"in": "mlp_act", "out": "mlp_module"} for name in _DOWN},
    **{name: {"in": "z", "out": "attn_module"} for name in _OUT},
}
"""Names of modules, also by what they give: what there is at their input and at their output."""
_PLACES: dict[str, Site] = {
    **dict.fromkeys(("resid_pre", "residual_pre", "resid_in", "residual_in"), "pre"),
    **dict.fromkeys(("resid_mid", "residual_mid"), "mid"),
    **dict.fromkeys(("mlp_in", "mlp_input"), "mlp_in"),
    **dict.fromkeys(("attn_z", "attention_z", "self_attn_z", "z"), "z"),
}
"""Names of places that no module is called by: they mean the same at either end."""
_OUTPUTS: dict[str, Site] = dict.fromkeys(("mlp_post", "mlp_post_act"), "mlp_act")
"""Names of places that have another one before them, which a module of that name might read."""
_KNOWN = ("resid_post", "resid_pre", "resid_mid", "mlp_out", "mlp_in", "mlp_post_act", "attn_out", "attn_z")


def dictionary_site(layer: int, name: Any, io: Any) -> Hook:
    """The place that `submodule_name` and `buffer.io` name in a layer; without them a block's output.

    Raises SubjectError where they name none, or another layer's.
    """
    name, end = _text(name, "submodule_name", "resid_post"), _text(io, "io", "out")
    if end not in _ENDS:
        raise SubjectError(f"io {io!r} is not supported; known are {' and '.join(_ENDS)}.")
    layers, site = _named(name, end)
    if site is None or any(number != layer for number in layers):
        raise SubjectError(
            f"submodule_name {name!r} with io {end!r} names no known place in layer {layer}; known are "
            f"{', '.join(_KNOWN)}, each with its layer's number or none."
        )
    return Hook(layer, site)


def _named(name: str, end: str) -> tuple[list[int], Site | None]:
    """The layers that a name has, and its place."""
    hook = find_hook(name)
    if hook is not None and str(hook) == name:  # TransformerLens' own name, in full
        return [hook.layer], hook.side
    words = re.findall(r"[a-z]+|\d+", name.lower())
    called = "_".join(word for word in words if not word.isdecimal() and word not in _FILLERS)
    site = _MODULES.get(called, {}).get(end) or _PLACES.get(called) or (_OUTPUTS if end == "out" else {}).get(called)
    return [int(word) for word in words if word.isdecimal()], site


def _text(value: Any, key: str, default: str) -> str:
    if value is not None and not isinstance(value, str):
        raise SubjectError(f"{key} is {value!r} instead of a text.")
    return value or default
