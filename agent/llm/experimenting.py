"""Rules by which the embedded explainer experiments, and what it makes of the results.

Each says by numbers where its evidence warrants a move: `test` before a label that is not sure, `compare` where other
vectors have its noun too, `steer` where something differs and nothing names it. The digest is the only input, and all
constants of these rules are here. They are followed where a run grants experiments, which for rules is not the default:
on the demo none of them names more features rightly (tests/bench/rules_demo.py), candidates, where a run takes
several, among them.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from agent.evidence.digest import EvidencePiece, p_values
from agent.evidence.heads import is_function_word
from agent.llm.carriers import texts_for
from agent.llm.reading import SIGNIFICANT, EvidenceReading, akin, experiments, plain, vocabulary_lists
from agent.schema import Candidate, Proposal, Sense, TextTest

Rule = Literal["test", "compare", "steer", "senses", "candidates"]
KINDS: Mapping[str, Rule] = {"experiment": "test", "neighbours": "compare", "continuations": "steer"}
"""The experiment that each kind of evidence comes from."""
RULES: frozenset[Rule] = frozenset(("test", "compare", "steer", "senses", "candidates"))

UNSURE = 0.5
"""Labels of at least this confidence are not tested."""
TESTED_WORDS = 4
"""Words of the token list that are tried in sentences."""
OWN_LIFT = 3.0
"""Lift from which a noun is the vector's own, so that no other feature's label is likely to be the same."""
NEAR = 0.5
"""Least cosine of a feature that a label is told apart from."""
TOLD_APART_BY = 2
"""Most words that are added to a label to tell it apart."""
SECOND_SENSE = 0.25
"""Least strength of a second noun that is a sense of its own, ..."""
SENSE_LIFT = 2.0
"""... and least lift of both."""
WRITTEN_IN = 3
"""Openings, of four, in whose continuations a word must stand to be what the feature writes."""
WRITTEN_CONFIDENCE = 0.3
"""Of a label that rests on what the model writes alone."""
WORD_CHARS = 3

_WORD = re.compile(r"[^\W\d_]+")


def experiment(
    best: EvidenceReading, confidence: float, context: Mapping[str, Any], seen: Sequence[EvidencePiece]
) -> Proposal | None:
    """Returns the experiment that a label about to be given warrants; None if it warrants none, or none is left."""
    if not context.get("can_test"):
        return None
    allowed, tried = context.get("rules", RULES), _tried(context, seen)
    reason = f'"{best.label}" has confidence {confidence:.2f}'
    if "test" in allowed and "test" not in tried and confidence < UNSURE:
        return Proposal(action="test", tests=tuple(tests_of(best, seen)), reason=reason)
    if "compare" in allowed and "compare" not in tried and _is_shared(best):
        return Proposal(action="compare", label=best.label, reason=f"{reason}, and other vectors have it too")
    return None


def tests_of(best: EvidenceReading, seen: Sequence[EvidencePiece]) -> Iterator[TextTest]:
    """Yields sentences with the first words of the token list, or with the label's own where there is no list.

    A label may name a class whose own name never activates the feature, so its members are tried.
    """
    words = _listed_words(seen)[:TESTED_WORDS]
    for test in texts_for(", ".join(words) or best.label):
        yield test.model_copy(update={"hypothesis": best.label})


def told_apart(label: str, seen: Sequence[EvidencePiece]) -> str:
    """Returns the label with words that activate the feature and not its nearest one, if they share others."""
    near = [one for piece in seen for one in piece["neighbours"] if one["value"] >= NEAR and one["shared"]]
    words: list[str] = []
    for token in (token for one in near[:1] for token in one["own"]):
        word = plain(token)
        if _is_word(word) and not any(akin(word, other) for other in (label, *words)):
            words.append(word)
    return f"{label}: {', '.join(words[:TOLD_APART_BY])}" if words else label


def two_senses(best: EvidenceReading, context: Mapping[str, Any]) -> tuple[Sense, ...]:
    """Returns the two strongest nouns as senses, if both are strong and the vector's own; else nothing."""
    if not context.get("experiments") or "senses" not in context.get("rules", RULES):
        return ()
    if best.listed or best.second_strength < SECOND_SENSE or akin(best.best, best.second):
        return ()
    if any((_lift(best, noun) or 0.0) < SENSE_LIFT for noun in (best.best, best.second)):
        return ()
    return tuple(Sense(text=noun) for noun in (best.best, best.second))


def candidates(
    label: str, best: EvidenceReading, context: Mapping[str, Any], seen: Sequence[EvidencePiece]
) -> tuple[Candidate, ...]:
    """Returns the label and the next noun, each in sentences of its own, where a run takes several; else nothing.

    Only where the label is itself among the first words of the list: the name of a class may activate nothing of a
    feature that activates on its members, and a label that none of its texts activates is dropped.
    """
    wanted = context.get("candidates", 1) > 1 and "candidates" in context.get("rules", RULES)
    if not wanted or label != best.best or not best.second or label not in _listed_words(seen):
        return ()
    return tuple(Candidate(label=noun, texts=tuple(_about(noun))) for noun in (best.best, best.second))


def _about(noun: str) -> Iterator[str]:
    return (test.text for test in texts_for(noun) if test.expected)


def steering(context: Mapping[str, Any], seen: Sequence[EvidencePiece]) -> bool:
    """Tests if clamping the feature may tell what nothing else told: something differs, and it was not tried."""
    allowed = "steer" in context.get("rules", RULES) and bool(context.get("can_test"))
    differs = min(p_values(seen), default=1.0) <= SIGNIFICANT
    return allowed and differs and "steer" not in _tried(context, seen)


def written(seen: Sequence[EvidencePiece]) -> str:
    """Returns the word that the model writes with the feature clamped and never with a random one; else nothing."""
    lines = [line for piece in seen for line in piece["continuations"]]
    beside = {word for line in lines for word in _words(line["beside"])}
    counts: dict[str, int] = {}
    for line in lines:
        for word in _words(line["text"]) - beside - _words(line["opening"]):
            counts[word] = counts.get(word, 0) + 1
    best = max(counts, key=lambda word: (counts[word], word), default="")
    return best if counts.get(best, 0) >= WRITTEN_IN else ""


def is_borne_out(seen: Sequence[EvidencePiece]) -> bool:
    """Tests if any text that should activate the feature does, or none was run."""
    tests = [test for piece in experiments(seen) for test in piece["tests"] if test["expected"]]
    return not tests or any(test["held"] for test in tests)


def _tried(context: Mapping[str, Any], seen: Sequence[EvidencePiece]) -> set[str]:
    """Returns the experiments that were made or refused: none is asked for twice."""
    made = {KINDS[piece["kind"]] for piece in seen if piece["kind"] in KINDS}
    return made | {str(past.get("action")) for past in context["history"]}


def _is_shared(best: EvidenceReading) -> bool:
    """Tests if the label is a noun of random directions too; unknown where nothing was compared with them."""
    lift = _lift(best, best.best)
    return not best.listed and lift is not None and lift < OWN_LIFT


def _lift(best: EvidenceReading, noun: str) -> float | None:
    lifts = [line["lift"] for piece in best.pieces for line in piece["nouns"] if line["text"] == noun]
    return max((lift for lift in lifts if lift is not None), default=None)


def _listed_words(seen: Sequence[EvidencePiece]) -> list[str]:
    lists = vocabulary_lists(seen)
    return [word for piece in lists[:1] for line in piece["tokens"] if _is_word(word := plain(line["text"]))]


def _words(text: str) -> set[str]:
    return {word for word in map(str.lower, _WORD.findall(text)) if _is_word(word) and not is_function_word(word)}


def _is_word(word: str) -> bool:
    return len(word) >= WORD_CHARS and word.isalpha()
