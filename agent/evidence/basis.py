"""The basis of a label, short enough for a row of a table: one definition and some tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.evidence.digest import EvidenceLine, EvidencePiece, citable, digest
from agent.evidence.wording import folded, phrase_words
from probes.evidence import Evidence, TokenList, Tree

_TOKENS = 6


@dataclass(frozen=True)
class Basis:
    """One definition and some tokens, safe to print."""

    definition: str = ""
    probability: float | None = None
    tokens: tuple[str, ...] = ()


def basis_of(cited: Sequence[str], evidence: Sequence[Evidence], default_scale: float) -> Basis:
    """Returns the first definition `cited`, else the most probable, and the first tokens that activate the feature.

    Without a list of those, the first tokens of the list of the definition's vector.

    `evidence` is all of a feature's, round after round, in the order in which its lines were numbered.
    """
    pieces = digest(evidence, default_scale)
    trees = [(piece, tree) for piece, tree in zip(pieces, evidence, strict=True) if isinstance(tree, Tree)]
    lines = [(_rank(line, piece, cited), line, tree) for piece, tree in trees for line in piece["lines"]]
    if not lines:
        return Basis(tokens=_first_tokens(evidence, None))
    _, line, tree = min(lines, key=lambda item: (item[0], -item[1]["value"]))
    return Basis(line["text"], line["value"], _first_tokens(evidence, tree))


def _rank(line: EvidenceLine, piece: EvidencePiece, cited: Sequence[str]) -> int:
    """Returns a definition's rank among the cited lines: its own, or that of the head noun that it holds."""
    names = {line["id"], *(noun["id"] for noun in piece["nouns"] if noun["text"] in line["text"].lower().split())}
    return next((place for place, name in enumerate(cited) if name in names), len(cited))


def cited_lines(cited: Sequence[str], pieces: Sequence[EvidencePiece]) -> list[EvidenceLine]:
    """Returns the lines with these ids, in the order of citation."""
    lines = {line["id"]: line for piece in pieces for line in citable(piece)}
    return [lines[name] for name in cited if name in lines]


def _first_tokens(evidence: Sequence[Evidence], tree: Tree | None) -> tuple[str, ...]:
    """Returns the first words of a token list, each once in any spelling."""
    lists = [item for item in evidence if isinstance(item, TokenList)]
    activating = [item for item in lists if item.settings.vector.is_vocabulary]
    same = [item for item in lists if tree is not None and item.settings.vector == tree.settings.vector]
    chosen = (activating or same or lists)[:1]
    words = dict.fromkeys(phrase_words(token.token, 24) for item in chosen for token in folded(item.tokens))
    return tuple(words)[:_TOKENS]
