"""Grades a feature by its first round of evidence: the kind of feature that it counts as where rounds are compared."""

from collections.abc import Iterable

from agent.evidence.digest import EvidencePiece, p_values
from agent.evidence.grades import grade

NOT_COMPARED = "not compared"


def grade_of(pieces: Iterable[EvidencePiece]) -> str:
    """Returns the grade of the smallest p-value among the pieces; `not compared` where none has one."""
    found = p_values(pieces)
    return grade(min(found)) if found else NOT_COMPARED
