"""One feature as a page shows it: its label, its evidence, its activating examples, the label's scores.

Every text returned is printable and of bounded length; templates escape it for HTML.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent.evidence.definitions import defining_part, endings
from agent.evidence.printable import printable
from agent.evidence.sense_words import counts_words, scope_lines
from agent.evidence.wording import folded, percent, phrase_words, token_words, tree_words
from agent.export.base import ExportedScore, Record
from agent.schema import SenseResult
from eval.scoring.variants import variant_words
from probes.evidence import Evidence, Projection, ScoredToken, TokenList, Tree
from probes.examples import Example, FeatureExamples

E = TypeVar("E", Tree, TokenList, Projection)

_DEFINITIONS = 4
_TREES = 4
_TOKENS = 12
_TEXTS = 3
_WINDOW = 36
"""Tokens of a text, around its highest activation."""
_SHADES = 4
_TOKEN_CHARS = 24
_LABEL_CHARS = 300
_TEXT_CHARS = 1200


@dataclass(frozen=True)
class Definitions:
    """The definitions of one tree."""

    settings: str
    lines: Sequence[tuple[str, str]]
    """Definitions with their probabilities, the most probable first."""


@dataclass(frozen=True)
class Tokens:
    """A named list of tokens."""

    name: str
    tokens: Sequence[str]


@dataclass(frozen=True)
class ShadedSpan:
    """Neighbouring tokens of one shade, from 0 (not active) to 4."""

    text: str
    shade: int


@dataclass(frozen=True)
class CardExample:
    """An activating example."""

    pieces: Sequence[ShadedSpan]
    peak: float


@dataclass(frozen=True)
class CardScore:
    """A score in words."""

    scorer: str
    variant: str
    value: str
    n: int


@dataclass(frozen=True)
class FeatureCard:
    """A feature in few words."""

    feature: str
    """Its address."""
    status: str
    label: str
    machine_label: str
    """The machine's label, if a reviewer replaced it, else empty."""
    explanation: str
    probability: str
    """Calibrated probability that the label is right; empty if there is none."""
    confidence: str
    """Confidence as stated by the explainer."""
    rounds: int
    senses: Sequence[str]
    """Each with how its texts did, where there are several or it was tested."""
    scopes: Sequence[tuple[str, str]]
    """The label's scopes by name: where the feature activates, and what it promotes."""
    verdict: str
    notes: Sequence[str]
    definitions: Sequence[Definitions]
    tokens: Sequence[Tokens]
    texts: Sequence[CardExample]
    frequency: str
    scores: Sequence[CardScore]


def card(
    record: Record,
    label: str | None,
    evidence: Sequence[Evidence],
    collected: FeatureExamples | None,
    address: str | None = None,
) -> FeatureCard:
    """Makes the card of a feature with this label; None for no label. Its `address` is its index unless given."""
    row, review = record.label, record.review
    replaced = label is not None and label != row.label
    return FeatureCard(
        feature=address or str(row.feature),
        status=row.status,
        label=cut(label or "", _LABEL_CHARS),
        machine_label=cut(row.label, _LABEL_CHARS) if replaced else "",
        explanation=cut(row.explanation or row.reason, _TEXT_CHARS),
        probability="" if record.probability is None else f"{record.probability:.2f}",
        confidence="" if row.confidence is None else f"{row.confidence:.2f}",
        rounds=row.rounds,
        senses=[*_senses(row.senses)],
        scopes=[(name, cut(text, _LABEL_CHARS)) for name, text in scope_lines(row)],
        verdict="" if review is None else cut(f"{review.verdict} by {review.reviewer}", _LABEL_CHARS),
        notes=[cut(said.note, _TEXT_CHARS) for said in record.reviews if said.note and not said.undone],
        definitions=[_definitions(tree) for tree in _first(evidence, Tree, _TREES)],
        tokens=[*_tokens(evidence)],
        texts=_texts(collected),
        frequency=_frequency(collected),
        scores=[*_scores(record.scores)],
    )


def cut(text: str, most: int) -> str:
    """Makes `text` printable and cuts it to `most` characters."""
    return printable(text) if len(text) <= most else printable(text[: most - 1]) + "…"


def _senses(senses: Sequence[SenseResult]) -> Iterator[str]:
    for sense in senses:
        if len(senses) > 1 or sense.n_positive or sense.n_near_misses:
            yield cut(f"{sense.text}: {counts_words(sense)}", _LABEL_CHARS)


def _definitions(tree: Tree) -> Definitions:
    found = endings(defining_part(tree))[:_DEFINITIONS]
    lines = [(phrase_words(end.text, 120) + ("" if end.closed else " …"), percent(end.probability)) for end in found]
    return Definitions(cut(tree_words(tree.settings), _LABEL_CHARS), lines)


def _tokens(evidence: Sequence[Evidence]) -> Iterator[Tokens]:
    for found in _first(evidence, TokenList, 2):
        is_read = found.settings.vector.is_vocabulary
        name = "activated by" if is_read else f"nearest to the {found.settings.vector.weights}"
        yield Tokens(name, _words(folded(found.tokens) if is_read else found.tokens))
    for projection in _first(evidence, Projection, 1):
        yield Tokens("raises", _words(projection.top))
        yield Tokens("lowers", _words(projection.bottom))


def _words(tokens: Sequence[ScoredToken]) -> list[str]:
    return [_token(token.token) for token in tokens[:_TOKENS]]


def _token(token: str) -> str:
    return token_words(token if len(token) <= _TOKEN_CHARS else token[: _TOKEN_CHARS - 1] + "…")


def _texts(collected: FeatureExamples | None) -> list[CardExample]:
    activating = [example for example in (collected.examples if collected else ()) if example.kind == "activating"]
    highest = sorted(activating, key=lambda example: -example.peak)[:_TEXTS]
    most = max((example.peak for example in highest), default=0.0)
    return [CardExample([*_pieces(example, most)], example.peak) for example in highest]


def _pieces(example: Example, most: float) -> Iterator[ShadedSpan]:
    at = example.activations.index(example.peak)
    start = max(at - _WINDOW // 2, 0)
    text, shade = "", 0
    for token, activation in list(zip(example.tokens, example.activations, strict=True))[start : start + _WINDOW]:
        here = 0 if activation <= 0 or most <= 0 else min(_SHADES, 1 + int(activation / most * (_SHADES - 0.01)))
        if here != shade and text:
            yield ShadedSpan(text, shade)
            text = ""
        text, shade = text + cut(token, _TOKEN_CHARS), here
    if text:
        yield ShadedSpan(text, shade)


def _frequency(collected: FeatureExamples | None) -> str:
    activity = collected.activity if collected else None
    if activity is None:
        return ""
    return f"active on {percent(activity.frequency)} of {activity.n_tokens:,} tokens, maximum {activity.maximum:.3g}"


def _scores(scores: Iterable[ExportedScore]) -> Iterator[CardScore]:
    for scored in scores:
        score = scored.score
        interval = "" if score.low is None or score.high is None else f" [{score.low:.2f}, {score.high:.2f}]"
        value = cut(score.reason or "", _LABEL_CHARS) if score.value is None else f"{score.value:.2f}{interval}"
        scorer = f"{score.scorer} ({score.metric})" if score.metric else score.scorer
        if score.part == "held_out":
            yield CardScore(cut(scorer, 60), cut(variant_words(score.variant), 60), value, score.n)


def _first(evidence: Sequence[Evidence], kind: type[E], most: int) -> list[E]:
    return [item for item in evidence if isinstance(item, kind)][:most]
