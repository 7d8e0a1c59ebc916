"""Turns evidence into the compact JSON-safe context that templates and the offline explainer read.

Every text here comes from a tokenizer and is hostile until `escaped`.
"""

from collections.abc import Iterable, Sequence
from typing import TypedDict

from agent.evidence.candidates import SweepSummary, candidates
from agent.evidence.definitions import defining_part, endings
from agent.evidence.grades import Grade, grade
from agent.evidence.heads import beginning
from agent.evidence.nouns import nouns, null_nouns
from agent.evidence.printable import printable
from agent.evidence.wording import place_beside, spellings, tree_words
from probes.behaviour import Continuations, Neighbours, TokenPair
from probes.evidence import ACTIVATES, Evidence, Experiment, Projection, ScoredToken, Sweep, TextResult, TokenList, Tree
from probes.settings import VOCABULARY, ProbeKind

CHARS_PER_TOKEN = 4
"""The usual estimate for English; only a budget hangs on it."""
EVIDENCE_TOKENS = 600
"""What one round's evidence costs in the prompt, about."""

NOUNS = 6
DEFINITIONS = 3
MORE_WORDS = 4
"""Words of a definition that are shown after its head noun."""
TOKENS = 12
RAISED, LOWERED = 8, 4
DEFINITION_CHARS = 100
TOKEN_CHARS = 40
TEXT_CHARS = 400
ACTIVE_TOKENS = 3


class EvidenceLine(TypedDict):
    """One line of evidence, to be cited by its id."""

    id: str
    text: str
    value: float
    """A tree's probability, a list's score, a projection's logit."""


class NounLine(EvidenceLine):
    """A head noun; its value is its share of the tree."""

    wordings: int
    lift: float | None


class TokenLine(EvidenceLine):
    """A token, under its first spelling in the list."""

    spellings: int
    """Tokens of the list that differ from it in case and outer spaces alone, itself among them."""
    z: float | None
    definition: str
    """As the model defines the token by itself; empty if it was not asked to."""


class TestLine(EvidenceLine):
    """A text that the explainer had run; its value is the largest activation as a proportion of the maximum."""

    hypothesis: str
    expected: bool
    """True if it should activate the feature."""
    held: bool | None
    """True if it did as expected; None if it was not measured."""
    where: list[str]
    """Tokens on which the feature activates, the strongest first."""


class NeighbourLine(EvidenceLine):
    """A feature that is near; its value is the cosine of the decoder rows, its text the tokens of the feature alone."""

    feature: int
    own: list[str]
    """Tokens that activate the feature more than the neighbour."""
    shared: list[str]
    other: list[str]


class WrittenLine(EvidenceLine):
    """An opening as the model continues it with the feature clamped; its value is the activation that it is held at."""

    opening: str
    beside: str
    """As it continues it with a random feature clamped."""


class Hypothesis(TypedDict):
    """The results of one sense's or candidate's texts: counts of those that activate and should, or should not."""

    name: str
    n_expected: int
    n_activating: int
    n_others: int
    n_others_activating: int


class NullComparison(TypedDict):
    """A comparison of evidence with the null distribution."""

    grade: Grade
    p_value: float
    n_random: int


class EvidencePiece(TypedDict):
    """One piece of evidence; fields that its kind lacks are empty."""

    id: str
    kind: ProbeKind
    side: str
    """The weights that its vector is made of."""
    settings: str
    """All other settings that it depends on."""
    nouns: list[NounLine]
    """A tree's head nouns, largest share first."""
    null: dict[str, float]
    """Shares of head nouns in trees of random directions."""
    lines: list[EvidenceLine]
    """A tree's definitions, each up to a few words after its head noun; a projection's raised tokens."""
    lowered: list[EvidenceLine]
    """The tokens that a projection lowers."""
    tokens: list[TokenLine]
    threshold: float | None
    """The score above which a token activates the feature."""
    note: str
    tests: list[TestLine]
    """An experiment's texts."""
    hypotheses: list[Hypothesis]
    is_of_texts: bool
    """True if the maximum that tests are measured by is of examples, not of single tokens."""
    neighbours: list[NeighbourLine]
    continuations: list[WrittenLine]
    readout: NullComparison | None
    sweep: SweepSummary | None


def digest(evidence: Sequence[Evidence], default_scale: float, first: int = 1) -> list[EvidencePiece]:
    """Returns one piece per evidence, with ids from `E{first}` on."""
    return [_piece(item, f"E{first + index}", default_scale) for index, item in enumerate(evidence)]


def citable(piece: EvidencePiece) -> list[EvidenceLine]:
    """Returns all lines of a piece that have an id."""
    evidence = [*piece["nouns"], *piece["lines"], *piece["lowered"], *piece["tokens"]]
    return [*evidence, *piece["tests"], *piece["neighbours"], *piece["continuations"]]


def p_values(pieces: Iterable[EvidencePiece]) -> list[float]:
    """Returns the p-values of the pieces that were compared with random directions."""
    return [piece["readout"]["p_value"] for piece in pieces if piece["readout"] is not None]


def escaped(text: str, limit: int | None = None) -> str:
    r"""Escapes `text` to stand between double quotes: one line, nothing invisible, no quote, no tag.

    On top of `printable`, backslashes and quotes get a backslash and angle brackets become `\u003c` and `\u003e`; what
    is longer than `limit` characters is cut, and its length told.
    """
    cut = text if limit is None else text[:limit]
    safe = printable(cut.replace("\\", "\\\\"))
    for sign, escape in (('"', '\\"'), ("<", "\\u003c"), (">", "\\u003e")):
        safe = safe.replace(sign, escape)
    return safe if cut == text else f"{safe}… ({len(text)} characters)"


def _piece(evidence: Evidence, name: str, default_scale: float) -> EvidencePiece:
    piece = _empty(
        name, "tree", evidence.settings.vector.weights, place_beside(evidence.settings.vector, default_scale)
    )
    match evidence:
        case Tree():
            return _tree(evidence, piece)
        case TokenList():
            return _token_list(evidence, piece)
        case Projection():
            raised, lowered = _scored(evidence.top[:RAISED]), _scored(evidence.bottom[:LOWERED])
            lines = _lines(name, [*raised, *lowered])
            projected = _empty(name, "projection", "decoder", "")
            return projected | {"lines": lines[: len(raised)], "lowered": lines[len(raised) :]}
        case Sweep():
            return piece | {"kind": "sweep", "sweep": candidates(evidence, default_scale)}
        case Experiment():
            return _experiment(evidence, name)
        case Neighbours():
            return _empty(name, "neighbours", "decoder", "") | {"neighbours": _neighbours(evidence, name)}
        case Continuations():
            return _continuations(evidence, name)


def _empty(name: str, kind: ProbeKind, side: str, settings: str) -> EvidencePiece:
    return {
        "id": name,
        "kind": kind,
        "side": side,
        "settings": settings,
        "nouns": [],
        "null": {},
        "lines": [],
        "lowered": [],
        "tokens": [],
        "threshold": None,
        "note": "",
        "tests": [],
        "hypotheses": [],
        "is_of_texts": False,
        "neighbours": [],
        "continuations": [],
        "readout": None,
        "sweep": None,
    }


def _tree(tree: Tree, piece: EvidencePiece) -> EvidencePiece:
    part = defining_part(tree)
    found = nouns(part)[:NOUNS]
    heads: list[NounLine] = [
        {**line, "wordings": noun.wordings, "lift": noun.lift}
        for line, noun in zip(
            _lines(piece["id"], [(escaped(noun.word, TOKEN_CHARS), noun.share) for noun in found]), found, strict=True
        )
    ]
    prompt = escaped(tree.settings.tree.prompt, DEFINITION_CHARS)
    contrast = tree.contrast
    return piece | {
        "settings": f'{tree_words(tree.settings, piece["settings"])}, base prompt "{prompt}"',
        "nouns": heads,
        "null": {escaped(word, TOKEN_CHARS): share for word, share in null_nouns(part).items()},
        "lines": _lines(piece["id"], _definitions(part), first=len(heads) + 1),
        "readout": None if contrast is None else _readout(contrast.p_value, contrast.n_random),
    }


def _definitions(part: Tree) -> list[tuple[str, float]]:
    """Groups the most probable definitions by their beginnings."""
    shares: dict[str, float] = {}
    for end in endings(part):
        start = beginning(end.text, MORE_WORDS)
        text = escaped(start, DEFINITION_CHARS) + ("" if end.closed and start == end.text else " …")
        shares[text] = shares.get(text, 0.0) + end.probability
    return sorted(shares.items(), key=lambda item: -item[1])[:DEFINITIONS]


def _token_list(listed: TokenList, piece: EvidencePiece) -> EvidencePiece:
    places = spellings(listed.tokens)[: max(TOKENS, listed.settings.tokens.define)]
    told = {one.place: escaped(one.text, DEFINITION_CHARS) for one in listed.definitions}
    lines = _lines(piece["id"], _scored([listed.tokens[same[0]] for same in places]))
    tokens: list[TokenLine] = [
        {
            **line,
            "spellings": len(same),
            "z": listed.z[same[0]] if listed.z else None,
            "definition": told.get(same[0], ""),
        }
        for line, same in zip(lines, places, strict=True)
    ]
    exponent = f", exponent {listed.settings.tokens.exponent:.3g}"
    own = listed.settings.vector.is_vocabulary
    return piece | {
        "kind": "tokens",
        "side": VOCABULARY if own else piece["side"],
        "settings": "" if own else piece["settings"] + exponent,
        "tokens": tokens,
        "threshold": listed.threshold,
        "note": escaped(listed.note, TOKEN_CHARS),
        "readout": None if listed.p_value is None else _readout(listed.p_value, listed.n_random),
    }


def _experiment(experiment: Experiment, name: str) -> EvidencePiece:
    tests: list[TestLine] = [
        {
            "id": f"{name}.{number}",
            "text": escaped(result.asked.text, TEXT_CHARS),
            "value": experiment.proportion(result) or 0.0,
            "hypothesis": escaped(result.asked.hypothesis, DEFINITION_CHARS),
            "expected": result.asked.activates,
            "held": experiment.held(result),
            "where": _where(experiment, result),
        }
        for number, result in enumerate(experiment.results, start=1)
    ]
    names = dict.fromkeys(test["hypothesis"] for test in tests)
    found = [_hypothesis(one, [test for test in tests if test["hypothesis"] == one]) for one in names]
    piece = _empty(name, "experiment", "", "")
    return piece | {"tests": tests, "hypotheses": found, "is_of_texts": experiment.is_of_texts}


def _where(experiment: Experiment, result: TextResult) -> list[str]:
    bar = ACTIVATES * experiment.maximum
    lines = sorted(zip(result.activations, result.tokens, strict=True), key=lambda line: -line[0])
    active = dict.fromkeys(token for value, token in lines if bar > 0 and value > bar)
    return [escaped(token, TOKEN_CHARS) for token in list(active)[:ACTIVE_TOKENS]]


def _hypothesis(name: str, tests: Sequence[TestLine]) -> Hypothesis:
    told = [test for test in tests if test["held"] is not None]
    expected, others = ([test for test in told if test["expected"] is should] for should in (True, False))
    return {
        "name": name,
        "n_expected": len(expected),
        "n_activating": sum(test["held"] is True for test in expected),
        "n_others": len(others),
        "n_others_activating": sum(test["held"] is False for test in others),
    }


def _neighbours(found: Neighbours, name: str) -> list[NeighbourLine]:
    return [
        {
            "id": f"{name}.{number}",
            "text": ", ".join(_pairs(one.own)),
            "value": one.cosine,
            "feature": one.feature,
            "own": _pairs(one.own),
            "shared": _pairs(one.shared),
            "other": _pairs(one.other),
        }
        for number, one in enumerate(found.neighbours, start=1)
    ]


def _pairs(pairs: Sequence[TokenPair]) -> list[str]:
    return [escaped(pair.token, TOKEN_CHARS) for pair in pairs]


def _continuations(found: Continuations, name: str) -> EvidencePiece:
    lines: list[WrittenLine] = [
        {
            "id": f"{name}.{number}",
            "text": escaped(line.text, TEXT_CHARS),
            "value": found.amount,
            "opening": escaped(line.opening, TEXT_CHARS),
            "beside": escaped(line.beside, TEXT_CHARS),
        }
        for number, line in enumerate(found.lines, start=1)
    ]
    strength = f"{found.settings.steering.strength:.3g} x its maximum"
    piece = _empty(name, "continuations", "decoder", strength)
    return piece | {"continuations": lines, "is_of_texts": found.is_of_texts, "note": escaped(found.reason, TEXT_CHARS)}


def _readout(p_value: float, n_random: int) -> NullComparison:
    return {"grade": grade(p_value), "p_value": p_value, "n_random": n_random}


def _scored(tokens: Sequence[ScoredToken]) -> list[tuple[str, float]]:
    return [(escaped(token.token, TOKEN_CHARS), token.score) for token in tokens]


def _lines(name: str, offered: Sequence[tuple[str, float]], first: int = 1) -> list[EvidenceLine]:
    """Gives the `offered` lines ids from `first` on."""
    return [
        {"id": f"{name}.{number}", "text": text, "value": value}
        for number, (text, value) in enumerate(offered, start=first)
    ]
