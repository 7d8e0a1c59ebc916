"""circuit-tracer's transcoders: one file a layer or two, `config.yaml` beside them all, which names their hooks.

Per layer `layer_3.safetensors`: W_enc and W_dec [n, d]; relu, jumprelu (a threshold), or top-k where the configuration
says so; W_skip [d_out, d_in]. Across layers `W_enc_3.safetensors`, each name with its layer: W_enc [n, d], b_enc,
b_dec, threshold; and `W_dec_3.safetensors`: W_dec [n, targets, d], a decoder for this layer and each that follows.
Read from safety-research/circuit-tracer, circuit_tracer/transcoder, as of 2026.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from probes.doors import door
from probes.errors import SubjectError
from probes.sae import SAE
from probes.sae_config import Architecture, Hook, SaeConfig, parse_hook
from probes.sae_formats.base import SaeFiles, SaePlace, explained, named_hook, size, unnamed
from probes.sae_formats.weights import Weights, open_weights

CONFIG = "config.yaml"
FILES: tuple[str, ...] = (CONFIG,)
"""Of the hub's; a layer's own files are fetched where one is named."""

_LAYER = re.compile(r"layer_(\d+)\.safetensors")
_HALF = re.compile(r"W_(?:enc|dec)_(\d+)\.safetensors")
_MLP_OUTPUT = "mlp.hook_out"
"""What comes out of the MLP, before a norm that some models put there."""
_KINDS = ("transcoder_set", "cross_layer_transcoder")


def find(place: SaePlace) -> SaeFiles | None:
    """See `Format`. Raises SubjectError where a folder holds several layers and none is named."""
    name = place.file or _only_layer(place.folder)
    if name is None:
        return None
    more = (CONFIG,) if place.has(CONFIG) else ()
    if match := _HALF.fullmatch(name):
        return SaeFiles(place.folder, f"W_enc_{match[1]}.safetensors", None, (*more, f"W_dec_{match[1]}.safetensors"))
    if _LAYER.fullmatch(name) and place.has(name):
        return SaeFiles(place.folder, name, None, more)
    return None


def read(files: SaeFiles) -> SAE:
    """See `Format`."""
    config = _config(files.folder / CONFIG) if CONFIG in files.more else {}
    if match := _HALF.fullmatch(files.weights):
        return _across_layers(files, int(match[1]), config)
    match = _LAYER.fullmatch(files.weights)
    assert match is not None
    return _of_layer(files, int(match[1]), config)


def _only_layer(folder: Path) -> str | None:
    """The file of the one layer that a folder holds; None where it holds none of this format."""
    names = [path.name for path in folder.glob("*.safetensors")]
    whole = sorted((name for name in names if _LAYER.fullmatch(name)), key=_number)
    halves = sorted((name for name in names if _HALF.fullmatch(name) and name.startswith("W_enc")), key=_number)
    found = whole or halves
    if len(found) == 1:
        return found[0]
    if found:
        kind = "per-layer transcoders" if whole else "a cross-layer transcoder"
        raise SubjectError(
            f"SAE folder {folder} holds {kind} of {len(found)} layers, {_number(found[0])} to {_number(found[-1])}; "
            f"name a layer as {folder}:{found[0]}."
        )
    if (folder / CONFIG).is_file():
        _explain_bare(folder / CONFIG)
    return None


def _explain_bare(path: Path) -> None:
    """Raises SubjectError where a configuration of this format came without weights, saying which to name."""
    config = _config(path)
    if config.get("model_kind") not in _KINDS:
        return
    listed = config.get("transcoders")
    if isinstance(listed, list) and listed:
        raise SubjectError(
            f"SAE folder {path.parent} has a {CONFIG} alone, which lists transcoders that lie elsewhere; name one of "
            f"them, as {_place(listed[0])}."
        )
    first = "layer_0" if config["model_kind"] == "transcoder_set" else "W_enc_0"
    raise SubjectError(
        f"SAE folder {path.parent} has one file for each layer beside its {CONFIG}; name a layer, as "
        f"{path.parent}:{first}.safetensors, or OWNER/NAME:{first}.safetensors of the hub."
    )


def _place(listed: Any) -> str:
    """Returns the place that a listed transcoder is known by here."""
    path = str(listed.get("filepath", "") if isinstance(listed, Mapping) else listed).partition("?")[0]
    owner, _, rest = path.removeprefix("hf://").partition("/")
    name, _, within = rest.partition("/")
    return f"{owner}/{name}:{within.removesuffix('/params.npz')}" if path.startswith("hf://") else path


def _number(name: str) -> int:
    return int(re.sub(r"\D", "", name))


def _config(path: Path) -> dict[str, Any]:
    sentence = f"SAE configuration {path} cannot be read as YAML: {{cause}}; download it again."
    with door(SubjectError, sentence):
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict):
        raise SubjectError(f"SAE configuration {path} holds no settings by name; download it again.")
    return data


def _of_layer(files: SaeFiles, layer: int, config: Mapping[str, Any]) -> SAE:
    weights = open_weights(files.folder / files.weights)
    b_enc, b_dec = weights.vector("b_enc"), weights.vector("b_dec")
    n, d_out = len(b_enc), len(b_dec)
    d = _width(weights, n, d_out)
    threshold = "activation_function.threshold"
    reads, writes = _hooks(files, layer, config)
    with explained(files.folder / CONFIG):
        architecture, k = _activation(config, weights, threshold)
    return SAE(
        config=SaeConfig(architecture, d, n, reads, writes, subtracts_b_dec=False, k=k),
        W_enc=weights.matrix("W_enc", d, n, turned=True),
        W_dec=weights.matrix("W_dec", n, d_out),
        b_dec=b_dec,
        b_enc=b_enc,
        threshold=weights.flat(threshold, n) if architecture == "jumprelu" else None,
        W_skip=weights.small("W_skip", d, d_out, turned=True) if weights.has("W_skip") else None,
    )


def _width(weights: Weights, n: int, d_out: int) -> int:
    """Returns the width of its input: of the encoder's two sides the one that is not `n`."""
    shape = list(weights.tensors["W_enc"].shape) if weights.has("W_enc") else []
    others = [side for side in shape if side != n]
    return others[0] if len(shape) == 2 and len(others) == 1 else d_out


def _activation(config: Mapping[str, Any], weights: Weights, threshold: str) -> tuple[Architecture, int | None]:
    """The rule and its k."""
    match config.get("activation"):
        case "topk":
            return "topk", size(config, "k")
        case None | "relu" | "jump_relu" | "jumprelu":
            return ("jumprelu" if weights.has(threshold) else "standard"), None
        case other:
            raise SubjectError(f"activation {other!r} is not supported; known are relu, jump_relu and topk.")


def _across_layers(files: SaeFiles, layer: int, config: Mapping[str, Any]) -> SAE:
    encoder = open_weights(files.folder / files.weights)
    b_enc, b_dec = encoder.vector(f"b_enc_{layer}"), encoder.vector(f"b_dec_{layer}")
    n, d = len(b_enc), len(b_dec)
    decoders = open_weights(files.folder / files.more[-1]).stack(f"W_dec_{layer}", n, d)
    reads, writes = _hooks(files, layer, config)
    threshold = f"threshold_{layer}"
    jumps = encoder.has(threshold)
    return SAE(
        config=SaeConfig(
            "jumprelu" if jumps else "standard",
            d,
            n,
            reads,
            writes,
            subtracts_b_dec=False,
            last_target=layer + decoders.shape[1] - 1,
        ),
        W_enc=encoder.matrix(f"W_enc_{layer}", d, n, turned=True),
        W_dec=decoders,
        b_dec=b_dec,
        b_enc=b_enc,
        threshold=encoder.flat(threshold, n) if jumps else None,
    )


def _hooks(files: SaeFiles, layer: int, config: Mapping[str, Any]) -> tuple[Hook, Hook]:
    """Returns the hook that it reads and the hook that it writes."""
    if "feature_input_hook" not in config:
        if hook := named_hook(files):
            return hook, Hook(layer, "mlp_out")
        raise unnamed(files, "where they read", f"{CONFIG} with feature_input_hook beside them")
    with explained(files.folder / CONFIG):
        return _hook(layer, config["feature_input_hook"]), _hook(layer, config.get("feature_output_hook"))


def _hook(layer: int, name: object) -> Hook:
    return Hook(layer, "mlp_module") if name == _MLP_OUTPUT else parse_hook(f"blocks.{layer}.{name}")
