"""How a feature's vector and its evidence are made: values only, no torch.

Formulas: the original notebook's (M. Watkins, "SAE Feature Interpretability Tool") for vector, tree and token list;
blends and several PCA components go beyond it. Defaults live here and nowhere else.
"""

import math
import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from probes.errors import SettingsError

GHOST = "{ghost}"

PROMPTS: dict[str, str] = {
    "definition": 'A typical definition of "{ghost}" would be "',
}
"""Base prompts by name: plain text with exactly one `{ghost}`, never rendered as a template."""

ProbeKind = Literal["tree", "tokens", "projection"]

_BLEND = re.compile(r"blend:(?P<share>\d*\.?\d+)")


class Value(BaseModel):
    """A frozen, JSON-safe value that refuses unknown keys and numbers that are not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, data: object) -> Self:
        """The value made of `data`, or a `SettingsError` that names the first field at fault."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            fault = error.errors()[0]
            message = fault["msg"].removeprefix("Value error, ")
            if not fault["loc"]:
                raise SettingsError(f"These settings do not go together: {message}.") from None
            where = ".".join(map(str, fault["loc"]))
            raise SettingsError(f"Setting {where}={fault['input']!r} is not usable: {message}.") from None


class VectorSettings(Value):
    """How a feature's weights become the vector that stands where a row of the embedding matrix stands."""

    weights: str = "encoder"
    """`encoder`, `decoder`, or `blend:b` = unit((1-b) encoder + b decoder), 0 <= b <= 1."""
    scale: float | None = Field(default=None, gt=0, le=1e4)
    """Distance from the centroid, in units of stored embedding rows; None = the subject's own default."""
    centroid: bool = True
    """Whether the vector starts from the mean row of the embedding matrix or from the origin."""
    pca: tuple[float, ...] = ()
    """Weight of each leading principal component of the embedding rows; r' = (1 - sum p) r + sum p_i u_i."""

    @field_validator("weights")
    @classmethod
    def _weights_are_known(cls, weights: str) -> str:
        blend_share(weights)
        return weights

    @field_validator("pca")
    @classmethod
    def _pca_weights_are_shares(cls, pca: tuple[float, ...]) -> tuple[float, ...]:
        if any(p < 0 for p in pca) or sum(pca) > 1:
            raise ValueError("PCA weights must be 0 or more and sum to at most 1")
        return pca

    @property
    def decoder_share(self) -> float:
        """b of `blend:b`; 0 for the encoder, 1 for the decoder."""
        return blend_share(self.weights)


class TreeSettings(Value):
    """How a definition tree is grown."""

    prompt: str = "definition"
    """A name in `PROMPTS`, or a text with exactly one `{ghost}`."""
    cutoff: float = Field(default=5e-5, gt=0, le=1)
    """Least cumulative probability of a node."""
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
        if PROMPTS.get(prompt, prompt).count(GHOST) != 1:
            names = ", ".join(PROMPTS)
            raise ValueError(f"a base prompt is a name ({names}) or a text with exactly one {GHOST}")
        return prompt

    @property
    def prompt_text(self) -> str:
        """The base prompt itself, with its `{ghost}`."""
        return PROMPTS.get(self.prompt, self.prompt)


class TokenSettings(Value):
    """How a token list is scored: (1 - cos(v, E_t)) ** exponent / (1 - cos(c, E_t)), smallest first."""

    exponent: float = Field(default=1.4, gt=0, le=100)
    top_n: int = Field(default=100, ge=1, le=100_000)


class ProbeSettings(Value):
    """Everything that decides one feature's evidence."""

    vector: VectorSettings = VectorSettings()
    tree: TreeSettings = TreeSettings()
    tokens: TokenSettings = TokenSettings()


def blend_share(weights: str) -> float:
    """The decoder's share in `weights`: 0 for `encoder`, 1 for `decoder`, b for `blend:b`. Raises ValueError."""
    if weights in ("encoder", "decoder"):
        return float(weights == "decoder")
    match = _BLEND.fullmatch(weights)
    if match is None or not 0 <= (share := float(match["share"])) <= 1 or math.isnan(share):
        raise ValueError("weights are encoder, decoder or blend:b with b from 0 to 1")
    return share
