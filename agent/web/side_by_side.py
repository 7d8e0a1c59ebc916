"""A feature in the words that stand beside another's, on a page and in the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent.evidence.basis import basis_of
from agent.evidence.wording import folded, percent, phrase_words
from agent.log.labels import LabelRow
from agent.log.runs import RunSummary
from probes.evidence import Evidence, TokenList

_TOKEN_CHARS = 24


@dataclass(frozen=True)
class SideText:
    """A feature's label and leading evidence; texts are unsafe, and empty where there is nothing."""

    status: str
    label: str
    explanation: str
    reason: str
    confidence: str
    definition: str
    probability: str
    """That of the definition in its tree."""
    tokens: Sequence[str]
    """The words of its first token list, each once."""

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yields names with what there is to say."""
        yield "status", self.status
        yield "label", self.label
        yield "explanation", self.explanation
        yield "reason", self.reason
        yield "confidence", self.confidence
        yield "definition", self.definition
        yield "its probability", self.probability
        yield "tokens", ", ".join(self.tokens)


def side_text(run: RunSummary, row: LabelRow | None, evidence: Sequence[Evidence]) -> SideText:
    """Returns a feature's words; `row` is None where it has no label."""
    basis = basis_of(row.evidence if row else (), evidence, float(run.subject["default_scale"]))
    return SideText(
        status=row.status if row else "no label yet",
        label=row.label if row else "",
        explanation=row.explanation if row else "",
        reason=row.reason if row else "",
        confidence=f"{row.confidence:.2f}" if row and row.confidence is not None else "",
        definition=basis.definition,
        probability="" if basis.probability is None else percent(basis.probability),
        tokens=_tokens(evidence),
    )


def shared_tokens(one: SideText, other: SideText) -> list[str]:
    """Returns the words that both first token lists have, in the order of the first."""
    return [token for token in one.tokens if token in other.tokens]


def _tokens(evidence: Sequence[Evidence]) -> list[str]:
    """Returns the words of the first token list, each once, in whatever spelling."""
    lists = [item for item in evidence if isinstance(item, TokenList)]
    words = [phrase_words(token.token, _TOKEN_CHARS) for item in lists[:1] for token in folded(item.tokens)]
    return [*dict.fromkeys(words)]
