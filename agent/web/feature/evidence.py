"""Lays out a feature's evidence for its page: a column for each vector, with its tree and its token list.

Pieces have the names by which explainers cite them. Everything returned is safe to print.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from agent.evidence.badge import Badge, list_badge
from agent.evidence.basis import cited_lines
from agent.evidence.digest import EvidenceLine, digest
from agent.evidence.printable import printable
from agent.evidence.wording import (
    agreement_words,
    folded,
    list_words,
    percent,
    prompt_words,
    sweep_words,
    token_words,
    vector_words,
)
from agent.web.feature.experiments import (
    ExperimentView,
    NeighbourTable,
    WrittenTable,
    neighbour_table,
    tested,
    written_table,
)
from agent.web.trees import Outline, badge, outline
from probes.behaviour import Continuations, Neighbours
from probes.evidence import (
    Evidence,
    Experiment,
    Projection,
    ScoredToken,
    Sweep,
    SweepPoint,
    TokenList,
    Tree,
)

LISTED = 100
"""Most rows of a list on a page."""
TOKEN_CHARS = 60


@dataclass(frozen=True)
class TokenBar:
    """A row of a token list or of a projection."""

    token: str
    score: str
    bar: float
    """Length of the bar, 0 to 100."""
    definition: str = ""
    """The token as the model defines it by itself."""


@dataclass(frozen=True)
class TreePiece:
    """A tree; `round` and `item` are its place in the log."""

    name: str
    round: int
    item: int
    caption: str
    badge: Badge | None
    outline: Outline


@dataclass(frozen=True)
class ListPiece:
    name: str
    caption: str
    badge: Badge | None
    rows: tuple[TokenBar, ...]


@dataclass(frozen=True)
class VectorEvidence:
    """The evidence of one vector in one round."""

    round: int
    vector: str
    trees: tuple[TreePiece, ...]
    lists: tuple[ListPiece, ...]

    @property
    def names(self) -> list[str]:
        """Returns the names of its pieces."""
        return [tree.name for tree in self.trees] + [listed.name for listed in self.lists]


@dataclass(frozen=True)
class ProjectionTable:
    """A projection: what the decoder row raises and lowers."""

    name: str
    raised: tuple[TokenBar, ...]
    lowered: tuple[TokenBar, ...]

    @property
    def pairs(self) -> list[tuple[TokenBar | None, TokenBar | None]]:
        """Returns lowered beside raised tokens, the strongest first."""
        return list(zip_longest(self.lowered, self.raised))


@dataclass(frozen=True)
class SweepTable:
    """The candidates for settings that were to be found, the chosen one marked."""

    name: str
    caption: str
    rows: tuple[TokenBar, ...]


@dataclass(frozen=True)
class FeatureEvidence:
    """All of a feature's evidence, in order of discovery."""

    sides: tuple[VectorEvidence, ...]
    writes: tuple[ProjectionTable, ...]
    sweeps: tuple[SweepTable, ...]
    experiments: tuple[ExperimentView, ...]
    neighbours: tuple[NeighbourTable, ...]
    written: tuple[WrittenTable, ...]
    names: Mapping[int, tuple[str, ...]]
    """Captions by round: the names of its evidence, with the settings."""

    @property
    def has_experiments(self) -> bool:
        """Tests if the explainer ran anything on the model."""
        return bool(self.experiments or self.neighbours or self.written)

    @property
    def first_round(self) -> frozenset[str]:
        """Returns the names of the first round's pieces."""
        first = min((side.round for side in self.sides), default=0)
        sides = [side for side in self.sides if side.round == first]
        return frozenset(name for side in sides for name in side.names)


def shown(rounds: Mapping[int, Sequence[Evidence]]) -> FeatureEvidence:
    """Lays out the evidence of all rounds, by vector."""
    sides: dict[tuple[int, str], list[TreePiece | ListPiece]] = {}
    writes: list[ProjectionTable] = []
    sweeps: list[SweepTable] = []
    experiments: list[ExperimentView] = []
    neighbours: list[NeighbourTable] = []
    written: list[WrittenTable] = []
    names: dict[int, tuple[str, ...]] = {}
    number = 0
    for round, pieces in rounds.items():
        said = []
        for item, evidence in enumerate(pieces):
            number += 1
            name = f"E{number}"
            vector = vector_words(evidence.settings.vector)
            here = sides.setdefault((round, vector), [])
            match evidence:
                case Tree():
                    here.append(_tree(evidence, name, round, item))
                    said.append(f"{name} tree, {vector}")
                case TokenList():
                    here.append(_list(evidence, name))
                    own = evidence.settings.vector.is_vocabulary  # such a list hangs on nothing of the vector
                    said.append(f"{name} vocabulary list" if own else f"{name} token list, {vector}")
                case Projection():
                    writes.append(ProjectionTable(name, token_bars(evidence.top), token_bars(evidence.bottom)))
                    said.append(f"{name} projection of the decoder row")
                case Sweep():
                    sweeps.append(_swept(evidence, name))
                    alone = len(evidence.points) == 1
                    said.append(f"{name} {'agreement of base prompts' if alone else 'sweep, which chose'}, {vector}")
                case Experiment():
                    experiments.append(tested(evidence, name, round))
                    said.append(f"{name} tests of {len(evidence.results)} texts")
                case Neighbours():
                    neighbours.append(neighbour_table(evidence, name, round))
                    said.append(f"{name} the {len(evidence.neighbours)} nearest features")
                case Continuations():
                    written.append(written_table(evidence, name, round))
                    said.append(f"{name} texts written with the feature clamped")
            if evidence.device:
                said[-1] += f", on {printable(evidence.device)}"
        names[round] = tuple(said)
    found = tuple(_side(*key, pieces) for key, pieces in sides.items() if pieces)
    return FeatureEvidence(
        found, tuple(writes), tuple(sweeps), tuple(experiments), tuple(neighbours), tuple(written), names
    )


def citations(
    cited: Sequence[str], rounds: Mapping[int, Sequence[Evidence]], default_scale: float
) -> list[EvidenceLine]:
    """Returns the lines of evidence that a label rests on, escaped as the explainer saw them."""
    return cited_lines(cited, digest([item for pieces in rounds.values() for item in pieces], default_scale))


def list_bars(listed: TokenList) -> tuple[TokenBar, ...]:
    """Returns a token list's rows. Bars show how much nearer a token is than the last one; the nearest's is full.

    Of vocabulary weights they are shares of the largest pre-activation, and a word's spellings have one row.
    """
    scores = [token.score for token in listed.tokens]
    high, low = max(scores, default=0.0), min(scores, default=0.0)
    if listed.z:
        defined = {listed.tokens[one.place]: printable(one.text) for one in listed.definitions}
        shares = {token: max(token.score, 0.0) / high if high > 0 else 0.0 for token in folded(listed.tokens)[:LISTED]}
        bars = {token: _bar(token, share, ".2f") for token, share in shares.items()}
        return tuple(replace(bar, definition=defined.get(token, "")) for token, bar in bars.items())
    return tuple(
        _bar(token, (high - token.score) / (high - low) if high > low else 0.0, ".3f")
        for token in listed.tokens[:LISTED]
    )


def token_bars(tokens: Sequence[ScoredToken]) -> tuple[TokenBar, ...]:
    """Returns a projection's rows; bars are proportions of its largest logit."""
    most = max((abs(token.score) for token in tokens), default=0.0)
    return tuple(_bar(token, abs(token.score) / most if most > 0 else 0.0, "+.2f") for token in tokens[:LISTED])


def _swept(sweep: Sweep, name: str) -> SweepTable:
    agreement = agreement_words(sweep)
    if len(sweep.points) == 1:
        return SweepTable(name, f"{vector_words(sweep.settings.vector)}: {agreement}", ())
    return SweepTable(name, f"{sweep_words(sweep)}; {agreement}", sweep_bars(sweep))


def sweep_bars(sweep: Sweep) -> tuple[TokenBar, ...]:
    """Returns a sweep's candidates; bars show a score's place between the lowest and the highest."""
    scores = [point.score for point in sweep.points if point.score is not None]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return tuple(_candidate(point, place == sweep.chosen, low, high) for place, point in enumerate(sweep.points))


def tree_caption(tree: Tree) -> str:
    """Describes a tree's prompt and cutoffs."""
    settings = tree.settings.tree
    return f"{prompt_words(tree)} … cutoff {percent(settings.cutoff)}, top {settings.top_k}"


def _tree(tree: Tree, name: str, round: int, item: int) -> TreePiece:
    return TreePiece(name, round, item, tree_caption(tree), badge(tree), outline(tree))


def _list(listed: TokenList, name: str) -> ListPiece:
    return ListPiece(name, list_words(listed), list_badge(listed), list_bars(listed))


def _candidate(point: SweepPoint, chosen: bool, low: float, high: float) -> TokenBar:
    words = f"{'→ ' if chosen else ''}{vector_words(point.vector)}"
    if point.score is None:
        return TokenBar(words, "no tree", 0.0)
    share = (point.score - low) / (high - low) if high > low else 1.0
    return TokenBar(words, f"{point.score:.3f}", round(100 * share, 1))


def _side(round: int, vector: str, pieces: Iterable[TreePiece | ListPiece]) -> VectorEvidence:
    pieces = tuple(pieces)
    trees = tuple(piece for piece in pieces if isinstance(piece, TreePiece))
    return VectorEvidence(round, vector, trees, tuple(piece for piece in pieces if isinstance(piece, ListPiece)))


def _bar(token: ScoredToken, share: float, form: str) -> TokenBar:
    words, length = token_words(token.token[:TOKEN_CHARS]), len(token.token)
    short = words if length <= TOKEN_CHARS else f"{words}… ({length:,} characters)"
    return TokenBar(short, f"{token.score:{form}}", round(100 * share, 1))
