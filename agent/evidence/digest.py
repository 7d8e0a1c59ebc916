"""Evidence -> the compact JSON-safe context that templates are rendered from and the offline explainer reads.

Every text here comes from a tokenizer and is hostile until `escaped`. Knows no template, no explainer and no log.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TypedDict

from agent.evidence.branches import Trim, drawn
from agent.evidence.candidates import Candidates, candidates
from agent.evidence.definitions import closed_share, defining_part, distinct, endings, entropy_bits, openings
from agent.evidence.printable import printable
from agent.evidence.wording import tree_words, vector_words
from probes.evidence import Evidence, Projection, ScoredToken, Sweep, TokenList, Tree, Verdict
from probes.settings import ProbeKind, VectorSettings

CHARS_PER_TOKEN = 4
"""The usual estimate for English; only a budget hangs on it."""
EVIDENCE_TOKENS = 2400
"""What one round's evidence may cost in the prompt, about."""
LINE_CHARS = 16
"""What a line costs besides its text: id, number, quotes."""

DEFINITIONS = 12
TOKENS = 25
PROJECTED = 10
OUTLINE_LINES = 14
OUTLINE_FLOOR = 0.03
"""Least cumulative probability of a node in an outline."""
OPENINGS = 60
DISTINCT = 8
OPENING_FLOOR = 0.005
"""Least cumulative probability of a node that counts as an opening of its own."""
DEFINITION_CHARS = 140
TOKEN_CHARS = 40


class Line(TypedDict):
    """One line of evidence, to be cited by its id."""

    id: str
    text: str
    value: float
    """A tree's probability, a list's score, a projection's logit."""


class OutlineLine(TypedDict):
    depth: int
    text: str
    probability: float
    lift: float | None
    """Nats above ghosts that say nothing."""


class DistinctLine(TypedDict):
    text: str
    probability: float
    lift: float


class Readout(TypedDict):
    """Whether a tree says more than a random direction's would."""

    verdict: Verdict
    divergence: float
    p_value: float
    n_as_far: int
    n_random: int
    n_candidates: int


class OpeningLine(TypedDict):
    text: str
    share: float
    closed: bool


class Statistics(TypedDict):
    """How a tree's probability is spread."""

    nodes: int
    first_token_bits: float
    """Entropy of the first token; all that the tree left out counts as one token."""
    openings: float
    """Effective number of openings: 2 to the entropy of their shares. Large means flat."""
    covered: float
    """Share of the probability that the definitions shown account for."""
    closed: float
    """Share of the probability that reached a closing quote."""


class Piece(TypedDict):
    """One piece of evidence. What its kind does not have is empty."""

    id: str
    kind: ProbeKind
    settings: str
    lines: list[Line]
    lowered: list[Line]
    """A projection's other end."""
    left_out: int
    """Lines that the token budget had no room for."""
    outline: list[OutlineLine]
    openings: list[OpeningLine]
    statistics: Statistics | None
    distinct: list[DistinctLine]
    """What a tree's ghost makes more probable than ghosts that say nothing, by probability times lift."""
    readout: Readout | None
    sweep: Candidates | None


def digest(
    evidence: Sequence[Evidence], default_scale: float, first: int = 1, tokens: int = EVIDENCE_TOKENS
) -> list[Piece]:
    """One piece per evidence, with ids from `E{first}` on, within about `tokens` tokens altogether."""
    long = sum(not isinstance(item, Sweep) for item in evidence)
    room = tokens * CHARS_PER_TOKEN // max(long, 1)
    return [_piece(item, f"E{first + index}", default_scale, room) for index, item in enumerate(evidence)]


def escaped(text: str, limit: int | None = None) -> str:
    r"""`text` fit to stand between double quotes: one line, nothing invisible, no quote, no tag.

    On top of `printable`, backslashes and quotes get a backslash and angle brackets become `\u003c` and `\u003e`; what
    is longer than `limit` characters is cut, and its length told.
    """
    cut = text if limit is None else text[:limit]
    safe = printable(cut.replace("\\", "\\\\"))
    for sign, escape in (('"', '\\"'), ("<", "\\u003c"), (">", "\\u003e")):
        safe = safe.replace(sign, escape)
    return safe if cut == text else f"{safe}… ({len(text)} characters)"


def _piece(evidence: Evidence, name: str, default_scale: float, room: int) -> Piece:
    match evidence:
        case Tree():
            return _tree(evidence, name, default_scale, room)
        case TokenList():
            exponent = f", exponent {evidence.settings.tokens.exponent:.3g}"
            settings = _vector(evidence.settings.vector, default_scale) + exponent
            offered = _tokens(evidence.tokens, TOKENS)
            lines = _lines(name, offered, room)
            return _made(name, "tokens", settings, lines, left_out=len(offered) - len(lines))
        case Projection():
            settings = "decoder row through the unembedding; no setting changes it"
            top, bottom = _tokens(evidence.top, PROJECTED), _tokens(evidence.bottom, PROJECTED)
            lines = _lines(name, top, room // 2)
            lowered = _lines(name, bottom, room // 2, first=len(lines) + 1)
            left_out = len(top) + len(bottom) - len(lines) - len(lowered)
            return _made(name, "projection", settings, lines, lowered, left_out=left_out)
        case Sweep():
            settings = _vector(evidence.settings.vector, default_scale)
            return _made(name, "sweep", settings, [], left_out=0, sweep=candidates(evidence))


def _tree(tree: Tree, name: str, default_scale: float, room: int) -> Piece:
    part = defining_part(tree)
    ends, starts = endings(part), openings(part, OPENING_FLOOR)
    prompt = escaped(tree.settings.tree.prompt, DEFINITION_CHARS)
    offered = [
        (escaped(end.text, DEFINITION_CHARS) + ("" if end.closed else " …"), end.probability)
        for end in ends[:DEFINITIONS]
    ]
    sketch = _outline(part, room // 2)
    own = distinct(part, DISTINCT)
    taken = sum(len(line["text"]) + LINE_CHARS for line in sketch) + sum(len(line.text) + LINE_CHARS for line in own)
    lines = _lines(name, offered, room - taken)
    first = [p for p, parent in zip(part.probabilities, part.parents, strict=True) if parent == 0]
    return _made(
        name,
        "tree",
        f'{tree_words(tree.settings, _vector(tree.settings.vector, default_scale))}, base prompt "{prompt}"',
        lines,
        left_out=len(offered) - len(lines),
        outline=sketch,
        openings=[
            {"text": escaped(start.text, DEFINITION_CHARS), "share": start.share, "closed": start.closed}
            for start in starts[:OPENINGS]
        ],
        statistics={
            "nodes": len(tree.parents) - 1,
            "first_token_bits": entropy_bits([*first, max(1.0 - sum(first), 0.0)]),
            "openings": 2.0 ** entropy_bits(start.share for start in starts),
            "covered": sum(line["value"] for line in lines),
            "closed": closed_share(part),
        },
        distinct=[
            {"text": escaped(line.text, DEFINITION_CHARS), "probability": line.probability, "lift": line.lift}
            for line in own
        ],
        readout=_readout(tree),
    )


def _made(
    name: str,
    kind: ProbeKind,
    settings: str,
    lines: Sequence[Line],
    lowered: Sequence[Line] = (),
    *,
    left_out: int,
    outline: Sequence[OutlineLine] = (),
    openings: Sequence[OpeningLine] = (),
    statistics: Statistics | None = None,
    distinct: Sequence[DistinctLine] = (),
    readout: Readout | None = None,
    sweep: Candidates | None = None,
) -> Piece:
    return {
        "id": name,
        "kind": kind,
        "settings": settings,
        "lines": [*lines],
        "lowered": [*lowered],
        "left_out": left_out,
        "outline": [*outline],
        "openings": [*openings],
        "statistics": statistics,
        "distinct": [*distinct],
        "readout": readout,
        "sweep": sweep,
    }


def _readout(tree: Tree) -> Readout | None:
    contrast = tree.contrast
    if contrast is None:
        return None
    return {
        "verdict": contrast.verdict,
        "divergence": contrast.divergence,
        "p_value": contrast.p_value,
        "n_as_far": contrast.n_as_far,
        "n_random": contrast.n_random,
        "n_candidates": contrast.n_candidates,
    }


def _outline(part: Tree, room: int) -> list[OutlineLine]:
    """The first forks of a tree in its own order; of many, the most probable, whose parents are always among them."""
    lines: list[OutlineLine] = [
        {
            "depth": depth - 1,
            "text": escaped(branch.text, DEFINITION_CHARS),
            "probability": branch.probability,
            "lift": branch.lift,
        }
        for branch, depth in drawn(part, Trim(least=OUTLINE_FLOOR)).walk()
    ]
    ranked = sorted(range(len(lines)), key=lambda place: -lines[place]["probability"])[:OUTLINE_LINES]
    costs = accumulate(len(lines[place]["text"]) + LINE_CHARS for place in ranked)
    return [lines[place] for place in sorted(place for place, cost in zip(ranked, costs, strict=True) if cost <= room)]


def _vector(vector: VectorSettings, default_scale: float) -> str:
    if vector.adapter is not None:
        return vector_words(vector)
    multiple = (vector.distance or default_scale) / default_scale
    return f"{vector_words(vector)} ({multiple:.3g} x the default scale)"


def _tokens(tokens: Sequence[ScoredToken], most: int) -> list[tuple[str, float]]:
    return [(escaped(token.token, TOKEN_CHARS), token.score) for token in tokens[:most]]


def _lines(name: str, offered: Sequence[tuple[str, float]], room: int, first: int = 1) -> list[Line]:
    """As many of the `offered` as fit into `room` characters, in their order, with ids from `first` on."""
    lines: list[Line] = []
    for number, (text, value) in enumerate(offered, start=first):
        room -= len(text) + LINE_CHARS
        if room < 0:
            break
        lines.append({"id": f"{name}.{number}", "text": text, "value": value})
    return lines
