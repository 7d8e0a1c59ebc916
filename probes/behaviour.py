"""Values of two probes that look beyond a feature's own weights: its neighbours, and texts written with it clamped."""

from dataclasses import dataclass

from probes.origin import FromDevice
from probes.settings import ProbeSettings


@dataclass(frozen=True)
class TokenPair:
    """A token read alone, and how far it activates two features."""

    token: str
    own: float
    """The feature's activation as a proportion of its largest on any token; of an SAE whose features compete for a
    place, as top-k ones do, its pre-activation."""
    other: float
    """The other feature's, likewise."""


@dataclass(frozen=True)
class Neighbour:
    """A feature whose decoder row is near to the feature's, and the tokens that tell the two apart."""

    feature: int
    cosine: float
    """Of the decoder rows."""
    own: tuple[TokenPair, ...]
    """Tokens that activate the feature more than the neighbour, the largest difference first."""
    shared: tuple[TokenPair, ...]
    """Tokens that activate both."""
    other: tuple[TokenPair, ...]
    """Tokens that activate the neighbour more."""


@dataclass(frozen=True)
class Neighbours(FromDevice):
    """The features nearest to a feature, the nearest first."""

    feature: int
    settings: ProbeSettings
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class Continuation:
    """An opening that says nothing, continued greedily with a feature clamped."""

    opening: str
    text: str
    """As the model goes on with the feature clamped."""
    beside: str
    """As it goes on with a random feature clamped, which moves the activations as far."""


@dataclass(frozen=True)
class Continuations(FromDevice):
    """Texts that the model writes while a feature is clamped to a multiple of its maximum activation."""

    feature: int
    settings: ProbeSettings
    amount: float
    """The activation that it is clamped at."""
    is_of_texts: bool
    """True where the maximum is of texts, false where it is of single tokens."""
    other: int | None
    """The random feature; None where nothing was written."""
    lines: tuple[Continuation, ...]
    reason: str = ""
    """Why nothing was written; empty where something was."""
