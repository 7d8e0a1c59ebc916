"""The embedded explainer: a rule-based reader of definition trees, a baseline and no language model.

It needs nothing installed and no key. It knows general English (heads.py) and the evidence it is shown; it knows no
subject, no lexicon and no truth, and says in every explanation what it is.

How it reads: each opening of a tree has a head noun; the probability of all openings with one head is the head's mass
in that tree. A round's strength of a head is the mean of its mean and its largest mass over the round's trees (so that
a head that both sides name beats one that a single side names), raised a little where the word stands in a list too.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.llm.base import Answer, Bound, Exchange, Form, Request, Usage
from agent.llm.heads import Head, head_of
from agent.schema import Proposal, SettingsChange

MODEL = "rules-1"

SETTLED = 0.6
"""Strength at which a head is taken as the label without looking further."""
ENOUGH = 0.3
"""Least strength of a label when there is nothing left to try."""
LEAD = 0.05
"""Least strength by which that label must be ahead of the next head."""
FLAT = 0.1
"""Below this strength of the best head a round counts as flat, which calls for a larger scale first."""
AGREEMENT = 0.5
"""Weight of the mean over a round's trees against the largest of them."""
SUPPORT = 0.1
"""Share of what is missing to 1 that a head gains when the word itself stands in a list or projection."""
BROAD_DISCOUNT = 0.5
BROAD = frozenset({"thing", "object", "person", "people", "place"})
"""Heads that open definitions of nearly anything; their mass counts by the discount."""
CITED = 8
"""Most evidence lines named."""

WHEN_FLAT = (
    SettingsChange(scale=1.5),
    SettingsChange(weights="blend:0.5"),
    SettingsChange(scale=0.6),
)
WHEN_MIXED = (
    SettingsChange(weights="blend:0.5"),
    SettingsChange(scale=0.6),
    SettingsChange(scale=1.5),
)
"""What it asks for, in this order, less what was asked before."""

Pieces = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Reading:
    """What one round of evidence says."""

    pieces: Pieces
    best: str = ""
    """The strongest head; empty where no definition has one."""
    strength: float = 0.0
    second: str = ""
    second_strength: float = 0.0
    masses: tuple[float, ...] = ()
    """The best head's mass in each of the round's trees."""

    @property
    def confidence(self) -> float:
        """Strength less half of the runner-up's: 1 for a head alone, half of its strength for an even tie."""
        return min(max(self.strength - self.second_strength / 2, 0.0), 1.0)

    @property
    def carries(self) -> bool:
        """Whether the best head may be the label when nothing is left to try."""
        return self.strength >= ENOUGH and self.strength - self.second_strength >= LEAD


class Offline:
    """The rule-based reader as an explainer."""

    provider = "offline"
    model = MODEL
    address = ""
    forms: tuple[Form, ...] = ()

    def check(self) -> str:
        """Nothing can be wrong with it."""
        return ""

    def bound(self, request: Request) -> Bound:  # noqa: ARG002
        """It uses no tokens and costs nothing."""
        return Bound()

    def cost_usd(self, usage: Usage) -> float | None:  # noqa: ARG002
        """Nothing."""
        return 0.0

    async def answer(self, request: Request, form: Form | None = None) -> Answer:  # noqa: ARG002
        """A proposal by rules from the request's context; there is no exchange, so its response is the proposal."""
        started = time.perf_counter()
        proposal = propose(request.context)
        duration_ms = 1000 * (time.perf_counter() - started)
        response = proposal.model_dump_json(exclude_defaults=True)
        exchange = Exchange(self.provider, self.model, response, cost_usd=0.0, duration_ms=duration_ms)
        return Answer(value=proposal, exchange=exchange)

    async def close(self) -> None:
        """There is nothing to give back."""


def propose(context: Mapping[str, Any]) -> Proposal:
    """Label, look again or abstain, by the strongest head over all rounds in `context`."""
    rounds = [*(past["evidence"] for past in context["history"]), context["evidence"]]
    best = max((read(pieces) for pieces in rounds if pieces), key=lambda reading: reading.strength, default=Reading([]))
    change = None if context["last"] else _next_change(best, context["history"])
    if best.strength < SETTLED and change is not None:
        return Proposal(action="probe", settings=change, reason=f"Rule-based baseline: {_doubt(best)}.")
    if not best.carries:
        return Proposal(action="abstain", reason=f"Rule-based baseline: {_doubt(best)}.")
    return Proposal(
        action="label",
        label=best.best,
        explanation=_explanation(best),
        confidence=round(best.confidence, 3),
        evidence=tuple(_cited(best)),
    )


def read(pieces: Pieces) -> Reading:
    """The strongest heads of one round's trees."""
    trees = [head_masses(piece["openings"]) for piece in pieces if piece["kind"] == "tree"]
    listed = {_plain(line["text"]) for piece in pieces if piece["kind"] != "tree" for line in piece["lines"]}
    strengths = Counter({head: _strength(head, trees, listed) for head in set().union(*trees)})
    ranked = sorted(strengths.items(), key=lambda item: (-item[1], item[0]))[:2]
    (best, strength), (second, second_strength) = (*ranked, ("", 0.0), ("", 0.0))[:2]
    masses = tuple(tree[best] for tree in trees) if best else ()
    return Reading(pieces, best, strength, second, second_strength, masses)


def head_masses(openings: Sequence[Mapping[str, Any]]) -> Counter[str]:
    """The probability of each head in one tree. A phrase that breaks off counts only for heads seen in full elsewhere.

    So "a small" is no concept, while "a dog", cut off, adds to the dogs of the same tree.
    """
    heads = [(head_of(opening["text"], opening["closed"]), opening["share"]) for opening in openings]
    whole = {head.word for head, _ in heads if head is not None and head.bounded}
    masses: Counter[str] = Counter()
    for head, share in heads:
        if isinstance(head, Head) and head.word in whole:
            masses[head.word] += share
    return masses


def _strength(head: str, trees: Sequence[Mapping[str, float]], listed: set[str]) -> float:
    masses = [tree[head] for tree in trees]
    strength = AGREEMENT * sum(masses) / len(masses) + (1 - AGREEMENT) * max(masses)
    if head in listed:
        strength += SUPPORT * (1 - strength)
    return strength * BROAD_DISCOUNT if head in BROAD else strength


def _next_change(best: Reading, history: Sequence[Mapping[str, Any]]) -> SettingsChange | None:
    asked = [past["asked"] for past in history]
    order = WHEN_FLAT if best.strength < FLAT else WHEN_MIXED
    return next((change for change in order if change.model_dump(exclude_none=True) not in asked), None)


def _doubt(best: Reading) -> str:
    if not best.best:
        return "no definition has a head noun"
    ahead = f'the strongest head noun, "{best.best}", has strength {best.strength:.2f}'
    return f'{ahead}; the next, "{best.second}", {best.second_strength:.2f}' if best.second else ahead


def _explanation(best: Reading) -> str:
    masses = " and ".join(f"{mass:.0%}" for mass in best.masses)
    after = f'; next is "{best.second}"' if best.second else ""
    return f'Rule-based baseline: "{best.best}" heads the definitions with {masses} of the probability{after}.'


def _cited(best: Reading) -> Iterator[str]:
    """Ids of the lines that name the best head, trees first."""
    named = [line["id"] for piece in best.pieces for line in piece["lines"] if _names(piece, line, best.best)]
    yield from named[:CITED]


def _names(piece: Mapping[str, Any], line: Mapping[str, Any], word: str) -> bool:
    if piece["kind"] != "tree":
        return _plain(line["text"]) == word
    head = head_of(line["text"].removesuffix(" …"), closed=not line["text"].endswith(" …"))
    return head is not None and head.word == word


def _plain(token: str) -> str:
    return token.strip().lower()
