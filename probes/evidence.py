"""The evidence that probes return: plain values, without torch, that survive a round trip through JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from probes.behaviour import Continuations, Neighbours
from probes.origin import FromDevice
from probes.settings import ProbeKind, ProbeSettings, VectorSettings


@dataclass(frozen=True)
class ExpectedText:
    """A text with what somebody expects of a feature on it."""

    text: str
    activates: bool
    hypothesis: str = ""
    """The label that it speaks for or against; empty where there is one alone."""


@dataclass(frozen=True)
class ProbeRequest:
    """One piece of evidence to be made."""

    kind: ProbeKind
    feature: int
    settings: ProbeSettings
    texts: tuple[ExpectedText, ...] = ()
    """Of an experiment."""
    maximum: float | None = None
    """The feature's highest activation in texts, where that is known: the unit of an experiment and of a clamp."""


@dataclass(frozen=True)
class ScoredToken:
    """A token of the vocabulary with the number a probe gave it."""

    token_id: int
    token: str
    score: float


@dataclass(frozen=True)
class WordDefinition:
    """The model's most probable definition of a token of a list, read by itself."""

    place: int
    """Of the token in the list, from 0."""
    text: str


Rank = Literal["probability", "lift"]
"""What nodes are ordered by; `lift`: probability times lift, which is what the ghost adds."""
RANKS = get_args(Rank)

Verdict = Literal["differs", "hardly differs", "no different"]
FAILED_ABOVE = 0.05
"""A tree whose p-value is larger is flagged: it does not clearly tell more than a random direction's."""
_HARDLY_UP_TO = 0.3
"""A flagged tree up to this p-value is told to differ hardly rather than not at all. On the embedded subject a
seventh to a quarter of the trees that name their feature's concept are flagged, and none of the decoder's, a ninth of
the encoder's, have a larger p (tests/bench/readout_table.py)."""


def verdict_of(p_value: float) -> Verdict:
    """Grades how clearly evidence of that p-value differs from the null distribution."""
    if p_value <= FAILED_ABOVE:
        return "differs"
    return "hardly differs" if p_value <= _HARDLY_UP_TO else "no different"


@dataclass(frozen=True)
class Contrast:
    """A tree's probabilities after ghosts that mean nothing; one entry per node, None where a node was not read."""

    null: tuple[float | None, ...]
    """The mean over seeded random directions of the same length, cumulative from the root."""
    centroid: tuple[float | None, ...]
    """After what the vector starts from alone: the centroid, or the origin."""
    divergence: float
    """Jensen-Shannon divergence of tree and null, as far as nodes were looked at, in nats: 0 to ln 2."""
    p_value: float
    """(1 + random directions whose trees diverge at least as far) / (1 + random directions).

    Of a vector that a sweep chose, the sweep's: such a tree is the best of several, and so are those it is held to.
    """
    n_random: int
    """Directions, or random features, that the p-value rests on; others than the null's own."""
    n_candidates: int = 1
    """Vectors that its own was chosen among."""

    @property
    def failed(self) -> bool:
        """Tells whether the tree is flagged: it differs from the null distribution no more than random directions'
        trees may.
        """
        return self.p_value > FAILED_ABOVE

    @property
    def verdict(self) -> Verdict:
        """Grades how clearly the tree differs from the null distribution; one that does not differ is flagged."""
        return verdict_of(self.p_value)

    @property
    def n_as_far(self) -> int:
        """Random directions whose trees diverge at least as far; of a sweep's, random features that score as much."""
        return round(self.p_value * (1 + self.n_random)) - 1


@dataclass(frozen=True)
class Tree(FromDevice):
    """A definition tree in columns: node 0 is the root, parents come before their children, siblings in falling order.

    `settings` are resolved (the scale is a number). Probabilities are cumulative from the root, whose own is 1.
    """

    feature: int
    settings: ProbeSettings
    prompt: str
    prompt_ids: tuple[int, ...]
    ghost_position: int
    placeholder_id: int
    parents: tuple[int, ...] = (-1,)
    token_ids: tuple[int, ...] = (-1,)
    probabilities: tuple[float, ...] = (1.0,)
    texts: Mapping[int, str] = field(default_factory=dict)
    """Text of every token id that occurs."""
    contrast: Contrast | None = None

    @property
    def lifts(self) -> tuple[float | None, ...]:
        """Per node, log p after the feature's ghost less log p after the null's, in nats; None where not looked at."""
        if self.contrast is None:
            return (None,) * self.n_nodes
        pairs = zip(self.probabilities, self.contrast.null, strict=True)
        return tuple(None if null is None else math.log(p / null) for p, null in pairs)

    def ranks(self, by: Rank) -> tuple[float, ...]:
        """Per node what orders it among its siblings, largest first; never more than its parent's.

        By `lift` that is the largest probability times lift of it and of all below it, in nats; what was not looked at
        counts as 0. A tree without contrast is ordered by probability.
        """
        if by == "probability" or self.contrast is None:
            return self.probabilities
        gains = [p * (lift or 0.0) for p, lift in zip(self.probabilities, self.lifts, strict=True)]
        for node in range(self.n_nodes - 1, 0, -1):
            gains[self.parents[node]] = max(gains[self.parents[node]], gains[node])
        return tuple(gains)

    @property
    def n_nodes(self) -> int:
        """Number of nodes, the root included."""
        return len(self.parents)


IN_CONTEXT = "in context"


@dataclass(frozen=True)
class TokenList(FromDevice):
    """The tokens that a feature is about.

    Of `vocabulary` weights, those that activate it most when read alone: scores are pre-activations, largest first. Of
    other weights those nearest to its vector, by centroid-corrected cosine distance, smallest score first.
    """

    feature: int
    settings: ProbeSettings
    tokens: tuple[ScoredToken, ...]
    threshold: float | None = None
    """What a pre-activation must exceed to be an activation; None where that hangs on the other features of the SAE, as
    in top-k, and of other weights."""
    z: tuple[float, ...] = ()
    """Per token, how many standard deviations above the mean over the vocabulary its pre-activation is."""
    p_value: float | None = None
    """(1 + random directions whose lists are as far out) / (1 + random directions): see `probes.ghost.vocabulary`."""
    n_random: int = 0
    """Directions that the p-value rests on."""
    note: str = ""
    """`IN_CONTEXT` where no token alone makes the feature active, so it must activate in context, not on a word."""
    definitions: tuple[WordDefinition, ...] = ()
    """Of the first words, if they were asked for: see `probes.defining`."""


@dataclass(frozen=True)
class Projection(FromDevice):
    """The tokens that a feature's decoder row raises most and lowers most through the unembedding (logits)."""

    feature: int
    settings: ProbeSettings
    top: tuple[ScoredToken, ...]
    bottom: tuple[ScoredToken, ...]


@dataclass(frozen=True)
class SweepPoint:
    """One candidate of a sweep: its vector, and what its cheap tree is like. None where there was no tree."""

    vector: VectorSettings
    """Resolved."""
    score: float | None
    """What is to be as large as it can be; see `Sweep.criterion`."""
    divergence: float | None
    """From the null, in nats: see `Contrast`."""
    p_value: float | None
    """Of that divergence among those of random directions at the same scale."""
    entropy_bits: float | None
    """Of the tree's first token; all that the tree left out counts as one token."""


@dataclass(frozen=True)
class Sweep(FromDevice):
    """The candidates for settings that were to be found, and the one that was chosen."""

    feature: int
    settings: ProbeSettings
    """Of the chosen one's tree."""
    criterion: str
    """What it was chosen by, in words."""
    points: tuple[SweepPoint, ...]
    chosen: int
    """Place of the chosen one among the points."""
    prompts: tuple[str, ...]
    """Base prompts of which the chosen vector's trees were compared; the first is that of the points."""
    agreement: float | None
    """From 0 to 1, how far they say the same: see `probes.null.agreement`; None where fewer than two say anything."""
    p_value: float | None = None
    """(1 + random features whose own best candidate scores at least as much) / (1 + random features), of the best
    score; None where nothing was chosen or nothing could be scored."""

    @property
    def best(self) -> SweepPoint:
        """The chosen point."""
        return self.points[self.chosen]


ACTIVATES = 0.1
"""Proportion of a feature's maximum that its largest activation on a text must exceed to count."""


@dataclass(frozen=True)
class TextResult:
    """A feature's activations on one text."""

    asked: ExpectedText
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    """One for each token; special tokens are left out."""

    @property
    def peak(self) -> float | None:
        """The largest activation; None for a text without a token."""
        return max(self.activations, default=None)


@dataclass(frozen=True)
class Experiment(FromDevice):
    """Texts that an explainer wrote to test what it thinks of a feature, run on the subject."""

    feature: int
    settings: ProbeSettings
    results: tuple[TextResult, ...]
    maximum: float
    """The feature's highest activation in texts, or on single tokens where that is not known; 0 where neither is above
    0."""
    is_of_texts: bool
    """Whether the maximum is of texts."""

    def proportion(self, result: TextResult) -> float | None:
        """The largest activation as a proportion of the maximum; None where there is none to measure it by."""
        return None if result.peak is None or self.maximum <= 0 else result.peak / self.maximum

    def held(self, result: TextResult) -> bool | None:
        """Tells whether the feature did what was expected; None if that cannot be told."""
        found = self.proportion(result)
        return None if found is None else (found > ACTIVATES) == result.asked.activates


Evidence = Tree | TokenList | Projection | Sweep | Experiment | Neighbours | Continuations


def tree_json(tree: Tree, by: Rank = "probability") -> dict[str, Any]:
    """The tree as nested dicts, as `interpret tree --json` prints it: cumulative probabilities, children by rank."""
    columns = zip(tree.token_ids, tree.probabilities, strict=True)
    nodes = [_node_json(tree, token_id, probability) for token_id, probability in columns]
    if tree.contrast:
        for node, null, centroid, lift in zip(
            nodes, tree.contrast.null, tree.contrast.centroid, tree.lifts, strict=True
        ):
            node |= {"null": null, "centroid": centroid, "lift": lift}
    ranks = tree.ranks(by)
    for place in sorted(range(1, tree.n_nodes), key=lambda place: -ranks[place]):
        nodes[tree.parents[place]]["children"].append(nodes[place])
    return {
        "feature": tree.feature,
        "settings": tree.settings.model_dump(mode="json"),
        "prompt": tree.prompt,
        "prompt_ids": list(tree.prompt_ids),
        "ghost_position": tree.ghost_position,
        "placeholder_id": tree.placeholder_id,
        "n_nodes": tree.n_nodes,
        "root": nodes[0],
        **({"readout": _readout_json(tree.contrast)} if tree.contrast else {}),
    }


def tokens_json(token_list: TokenList) -> dict[str, Any]:
    """The token list as `interpret tokens --json` prints it, in its order; more of one of vocabulary weights."""
    listed = {**_head_json(token_list), "tokens": _scored_json(token_list.tokens)}
    if token_list.p_value is None:
        return listed
    for token, z in zip(listed["tokens"], token_list.z, strict=True):
        token["z"] = z
    for one in token_list.definitions:
        listed["tokens"][one.place]["definition"] = one.text
    names = ("threshold", "p_value", "n_random", "note")
    return listed | {name: getattr(token_list, name) for name in names}


def projection_json(projection: Projection) -> dict[str, Any]:
    """The projection in the form of a token list, with both its ends."""
    return {**_head_json(projection), "top": _scored_json(projection.top), "bottom": _scored_json(projection.bottom)}


def sweep_json(sweep: Sweep) -> dict[str, Any]:
    """The sweep as `interpret tree --scale auto --json` prints it beside the tree, candidates in their order."""
    points = [{**asdict(point), "vector": point.vector.model_dump(mode="json")} for point in sweep.points]
    return {
        "criterion": sweep.criterion,
        "prompts": list(sweep.prompts),
        "agreement": sweep.agreement,
        "p_value": sweep.p_value,
        "points": [point | {"chosen": place == sweep.chosen} for place, point in enumerate(points)],
    }


def _readout_json(contrast: Contrast) -> dict[str, Any]:
    return {
        "divergence": contrast.divergence,
        "p_value": contrast.p_value,
        "n_random": contrast.n_random,
        "n_candidates": contrast.n_candidates,
        "failed": contrast.failed,
        "verdict": contrast.verdict,
    }


def _node_json(tree: Tree, token_id: int, probability: float) -> dict[str, Any]:
    is_root = token_id < 0
    return {
        "token_id": None if is_root else token_id,
        "token": "" if is_root else tree.texts[token_id],
        "probability": probability,
        "children": [],
    }


def _head_json(evidence: TokenList | Projection) -> dict[str, Any]:
    return {"feature": evidence.feature, "settings": evidence.settings.model_dump(mode="json")}


def _scored_json(tokens: Sequence[ScoredToken]) -> list[dict[str, Any]]:
    return [{"token_id": item.token_id, "token": item.token, "score": item.score} for item in tokens]
