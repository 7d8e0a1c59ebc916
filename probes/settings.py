"""Settings of a feature's vector and evidence; values, without torch.

Formulas: the original notebook's (M. Watkins, "SAE Feature Interpretability Tool") for vector, tree and token list;
blends and several PCA components go beyond it. Defaults of probes live here; those of runs in agent/config.py, of
subjects in probes/presets.py.
"""

import hashlib
import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from probes.doors.given import shortened, shown
from probes.errors import SettingsError

GHOST = "{ghost}"

PROMPTS: dict[str, str] = {
    "definition": 'A typical definition of "{ghost}" would be "',
    "meaning": 'The meaning of "{ghost}" is "',
    "list": 'Words that are similar to "{ghost}": "',
    "word": 'The word "{ghost}" stands for',
    "about": 'A text about "{ghost}" is a text about',
    "word-means": 'The word "{ghost}" means "',
    "chat": 'What does the word "{ghost}" mean?\nIt means "',
    "chat-few": 'In a few words, what does "{ghost}" mean?\nIt means "',
    "chat-category": 'Which category does "{ghost}" belong to?\nIt is a kind of "',
}
"""Base prompts by name: plain text with exactly one `{ghost}`, never rendered as a template.

Of those for instruction-tuned models the first line is what a user says and the second how the answer begins; what
stands around them is the model's own: see `probes.tokenizer.prompt`.
"""
CHATS = frozenset(name for name, text in PROMPTS.items() if "\n" in text)
"""Base prompts that need a chat template."""
PLAIN_PROMPTS = tuple(name for name in PROMPTS if name not in CHATS)
"""Those that every model can be given."""

Auto = Literal["auto"]
AUTO: Auto = "auto"
"""Instead of a setting: what a sweep finds best, feature by feature (`probes.sweep`); of a base prompt, what reads
the subject's own words best (`probes.ghost.base_prompt`)."""

VOCABULARY = "vocabulary"
"""Weights that are read off tokens: see `probes.ghost.vocabulary`."""

WORDS = "words"
"""The same tokens, each word of them a ghost of its own: see `probes.ghost.words`."""

GHOST_TOKENS = 4
"""Most tokens, or words, that stand behind such weights."""

PRONOUNS = ("it", "this", "that")
"""Words that may stand where a ghost would, to say nothing of a feature."""

ProbeKind = Literal["tree", "tokens", "projection", "sweep", "experiment", "neighbours", "continuations"]

LARGEST_SCALE = 1e4

_BLEND = re.compile(r"blend:(?P<share>\d*\.?\d+)")


class Value(BaseModel):
    """A frozen, JSON-safe value that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_switch_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """True would else pass for 1, and false for 0."""
        held = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(item, bool) for item in held) and not _takes_bool(cls, info.field_name or ""):
            raise ValueError("true and false are no value of it")
        return value

    @classmethod
    def parse(cls, data: object, called: Callable[[str], str] = str) -> Self:
        """The value made of `data`, or a `SettingsError` that names the first field at fault as it is `called`."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            fault = error.errors()[0]
            message = fault["msg"].removeprefix("Value error, ")
            if not fault["loc"]:
                raise SettingsError(f"These settings do not go together: {message}.") from None
            field, *inside = (shortened(str(name)) for name in fault["loc"])
            where = ".".join([called(field), *inside])
            raise SettingsError(f"Setting {where}={shown(fault['input'])} is not usable: {message}.") from None


@cache
def _takes_bool(value: type[Value], field: str) -> bool:
    """Tells whether true and false may stand in that field, alone or within a tuple."""

    def takes(annotation: object) -> bool:
        return annotation in (bool, Any, object) or any(map(takes, get_args(annotation)))

    return takes(value.model_fields[field].annotation)


class AdapterFile(Value):
    """A fitted adapter (`probes.ghost.adapter`) by what is in its file: another content is another setting."""

    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")

    def __str__(self) -> str:
        """Its name and the beginning of its hash: where it lies is nobody else's business."""
        return f"{Path(self.path).name} ({self.sha256[:8]})"

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """The file as it is now. Raises SettingsError where it cannot be read."""
        return cls(path=str(path), sha256=hashlib.sha256(adapter_bytes(path)).hexdigest())


LARGEST_ADAPTER = 2**26
"""Bytes of a file that may be an adapter."""


def adapter_bytes(path: str | Path) -> bytes:
    """Reads an adapter's file. Raises SettingsError."""
    try:
        if not Path(path).is_file() or Path(path).stat().st_size > LARGEST_ADAPTER:
            raise SettingsError(f"Adapter {path} is not a file that interpret fit has made; name one that is there.")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise SettingsError(f"Adapter {path} cannot be read: {error}.") from None


class VectorSettings(Value):
    """Settings by which a feature's weights become the vector that stands where a row of the embedding matrix
    stands.
    """

    weights: str = WORDS
    """`words` = each of the words that activate the feature most when read alone, a vector for each; `vocabulary` =
    one vector of those tokens; `encoder`, `decoder`, `blend:b` = unit((1-b) encoder + b decoder), 0 <= b <= 1; or
    `auto`."""
    ghost_tokens: int = Field(default=GHOST_TOKENS, ge=1, le=1000)
    """Most tokens that a vector of `vocabulary` weights is made of, and most vectors of `words` weights."""
    scale: float | Auto | None = None
    """Distance from the centroid, in units of stored embedding rows; None = the subject's own default; or `auto`."""
    centroid: bool = True
    """Whether the vector starts from the mean row of the embedding matrix or from the origin."""
    pca: tuple[float, ...] = ()
    """Weight of each leading principal component of the embedding rows, r' = (1 - sum p) r + sum p_i u_i."""
    adapter: AdapterFile | None = None
    """A fitted scale and bias instead of all these but the weights: v = scale r + bias; may be given by its path."""

    @field_validator("weights")
    @classmethod
    def _weights_are_known(cls, weights: str) -> str:
        try:
            return weights if weights == AUTO else checked_weights(weights)
        except ValueError as error:
            raise ValueError(f"{error}, or {AUTO}") from None

    @field_validator("scale", mode="wrap")
    @classmethod
    def _scale_is_a_distance_or_auto(cls, scale: object, handler: ValidatorFunctionWrapHandler) -> object:
        try:
            checked = handler(scale)
        except ValidationError:  # of which a union would report one for each of its members
            checked = 0.0
        if isinstance(checked, float) and not 0 < checked <= LARGEST_SCALE:
            raise ValueError(f"a scale is a number above 0 and at most {LARGEST_SCALE:,.0f}, or auto")
        return checked

    @field_validator("pca")
    @classmethod
    def _pca_weights_are_shares(cls, pca: tuple[float, ...]) -> tuple[float, ...]:
        if any(p < 0 for p in pca) or sum(pca) > 1:
            raise ValueError("PCA weights must be 0 or more and sum to at most 1")
        return pca

    @field_validator("adapter", mode="before")
    @classmethod
    def _adapter_may_be_a_path(cls, adapter: object) -> object:
        return AdapterFile.at(adapter) if isinstance(adapter, str | Path) else adapter

    @model_validator(mode="after")
    def _adapter_stands_alone(self) -> Self:
        if self.adapter is not None and (self.is_auto or self.scale is not None or not self.centroid or self.pca):
            raise ValueError(
                "an adapter brings its own scale and bias, so scale, --no-centroid, pca and auto are not given with one"
            )
        return self

    @property
    def is_auto(self) -> bool:
        """Tells whether something in the settings is still to be found."""
        return AUTO in (self.weights, self.scale)

    @property
    def distance(self) -> float | None:
        """The scale where it is a number; None where it is the subject's own or still to be found."""
        return None if isinstance(self.scale, str) else self.scale

    @property
    def is_vocabulary(self) -> bool:
        """Tells whether the vector is made of tokens that activate the feature."""
        return self.weights in (VOCABULARY, WORDS)

    @property
    def n_ghosts(self) -> int:
        """Most vectors that stand for a feature."""
        return self.ghost_tokens if self.weights == WORDS else 1

    def scaled(self, default: float) -> Self:
        """With the subject's default for a scale where none is named; an adapter keeps its own."""
        return self if self.scale is not None or self.adapter else self.model_copy(update={"scale": default})


class TreeSettings(Value):
    """Settings of a definition tree."""

    prompt: str = AUTO
    """A name in `PROMPTS`, a text with exactly one `{ghost}`, or `auto`, which the subject's own words decide."""
    cutoff: float = Field(default=5e-3, gt=0, le=1)
    """Least cumulative probability of a node. Finer trees name no more features of the demo: tests/bench/cutoffs.py."""
    top_k: int = Field(default=5, ge=1, le=1000)
    """Most children of a node."""
    max_depth: int = Field(default=25, ge=1, le=1000)
    """Most tokens from the root to a leaf."""
    contrast: float | None = Field(default=0.01, ge=0, le=1)
    """Least probability of a node that is compared with ghosts that say nothing; 0 compares all, `off` (None) none."""

    @field_validator("contrast", mode="before")
    @classmethod
    def _contrast_may_be_off(cls, contrast: object) -> object:
        return None if contrast == "off" else contrast

    @field_validator("prompt")
    @classmethod
    def _prompt_has_one_ghost(cls, prompt: str) -> str:
        if prompt != AUTO and PROMPTS.get(prompt, prompt).count(GHOST) != 1:
            names = ", ".join(PROMPTS)
            raise ValueError(f"a base prompt is auto, a name ({names}) or a text with exactly one {GHOST}")
        return prompt

    @property
    def prompt_text(self) -> str:
        """The base prompt itself, with its `{ghost}`. Raises SettingsError for one that is still to be found."""
        if self.prompt == AUTO:
            raise SettingsError(f"For a single tree the base prompt cannot be {AUTO}; name one.")
        return PROMPTS.get(self.prompt, self.prompt)


class TokenSettings(Value):
    """Settings of a token list, scored by (1 - cos(v, E_t)) ** exponent / (1 - cos(c, E_t)), smallest first."""

    exponent: float = Field(default=1.4, gt=0, le=100)
    top_n: int = Field(default=100, ge=1, le=100_000)
    define: int = Field(default=0, ge=0, le=64)
    """Words of a list of tokens that activate the feature that the model defines, one by one."""


class SteeringSettings(Value):
    """Settings of steering: a feature's decoder row changes the model's states at the feature's own hook as a tree
    grows.
    """

    mode: Literal["none", "add", "clamp"] = "none"
    """`add`: so much of the decoder row is added; `clamp`: so much that the feature is exactly that active."""
    strength: float = Field(default=2.0, ge=-100, le=100)
    """How much, in units of the feature's own maximum activation; clamped at 0 it is switched off."""
    maximum: float | None = Field(default=None, gt=0, le=1e9)
    """The feature's maximum activation; None = to be filled in from what is known of the feature."""
    at: Literal["ghost", "all", "after"] = "ghost"
    """`ghost`: where the ghost stands; `after`: where the definition is written, which is the prompt's last token and
    all that follows; `all`: everywhere."""
    ghost: bool = True
    """Whether the feature's vector stands in the prompt as well, or an ordinary pronoun alone."""
    pronoun: str | None = Field(default=None, min_length=1)
    """The word in the ghost's place if there is none; None = the first of `PRONOUNS` that is one token."""

    @model_validator(mode="before")
    @classmethod
    def _off_is_off(cls, data: Any) -> Any:
        """Whatever else is said, there is only one way of not steering."""
        if not isinstance(data, dict):
            return data
        if data.get("mode") == "none":
            return {name: value for name, value in data.items() if name not in cls.model_fields} | {"mode": "none"}
        if "mode" not in data and data:
            raise ValueError(f"{', '.join(data)} is about steering, which is off; choose --steer add or clamp")
        return data

    @model_validator(mode="after")
    def _a_pronoun_stands_alone(self) -> Self:
        if self.ghost and self.pronoun is not None:
            raise ValueError("a pronoun stands where there is no ghost; add --no-ghost, or leave the pronoun out")
        return self

    @property
    def on(self) -> bool:
        """Tells whether anything is steered."""
        return self.mode != "none"

    @property
    def way(self) -> Self:
        """These settings whatever the amount: features steered in the same way are steered in one batch."""
        return self.model_copy(update={"strength": 1.0, "maximum": None})

    def amount(self, feature: int) -> float:
        """The activation that is added or clamped to. Raises SettingsError where the feature's maximum is not known."""
        if self.maximum is None:
            raise self.unknown(feature)
        return self.strength * self.maximum

    @staticmethod
    def unknown(feature: int) -> SettingsError:
        """Returns the message about a feature whose maximum is not known."""
        return SettingsError(
            f"Feature {feature} is to be steered in units of its maximum activation, which is not known: collect texts "
            f"that activate it with interpret examples --features {feature}, or give the number with --maximum."
        )


class ProbeSettings(Value):
    """Everything that decides one feature's evidence."""

    vector: VectorSettings = VectorSettings()
    tree: TreeSettings = TreeSettings()
    tokens: TokenSettings = TokenSettings()
    steering: SteeringSettings = SteeringSettings()


def checked_weights(weights: str) -> str:
    """`weights`, if a vector can be made of them. Raises ValueError."""
    if weights not in (VOCABULARY, WORDS):
        blend_share(weights)
    return weights


def blend_share(weights: str) -> float:
    """The decoder's share in `weights`: 0 for `encoder`, 1 for `decoder`, b for `blend:b`. Raises ValueError."""
    if weights in ("encoder", "decoder"):
        return float(weights == "decoder")
    match = _BLEND.fullmatch(weights)
    if match is None or not 0 <= (share := float(match["share"])) <= 1 or math.isnan(share):
        raise ValueError("weights are words, vocabulary, encoder, decoder or blend:b with b from 0 to 1")
    return share
