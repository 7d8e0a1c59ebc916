"""The definition trees of one round in a table: a row for each head noun, a column for each tree."""

from collections.abc import Sequence
from typing import TypedDict

from agent.evidence.digest import DEFINITIONS, NOUNS, EvidenceLine, EvidencePiece, NounLine

NULL_NOUNS = 4
MIN_NULL = 0.02
"""Share that a noun must have after random directions to be told."""


class BranchRow(TypedDict):
    word: str
    cells: list[NounLine | None]
    """One cell for each tree; None if the noun is not among the tree's first."""


class TreeTable(TypedDict):
    """The table of a round's trees, for an explainer."""

    trees: list[EvidencePiece]
    settings: dict[str, list[str]]
    """Settings of the vectors and trees besides the weights, with the ids of the trees made with them."""
    rows: list[BranchRow]
    rest: list[float]
    """For each tree, the share outside all rows."""
    definitions: list[EvidenceLine]
    null: dict[str, float]
    """Head nouns of the model's definitions of random directions, with their shares, largest first."""


def table(pieces: Sequence[EvidencePiece]) -> TreeTable | None:
    """Makes the table of the trees among `pieces`; None if there are none."""
    trees = [piece for piece in pieces if piece["kind"] == "tree"]
    if not trees:
        return None
    rows = _rows(trees)
    settings: dict[str, list[str]] = {}
    for tree in trees:
        settings.setdefault(tree["settings"], []).append(tree["id"])
    return {
        "trees": trees,
        "settings": settings,
        "rows": rows,
        "rest": [_rest(rows, column) for column in range(len(trees))],
        "definitions": [line for tree in trees for line in tree["lines"][: max(DEFINITIONS // len(trees), 1)]],
        "null": _null(trees),
    }


def _rows(trees: Sequence[EvidencePiece]) -> list[BranchRow]:
    """Makes rows for the nouns of largest share in any tree."""
    columns = [{line["text"]: line for line in tree["nouns"]} for tree in trees]
    shares: dict[str, float] = {}
    for column in columns:
        for word, line in column.items():
            shares[word] = max(shares.get(word, 0.0), line["value"])
    ranked = sorted(shares, key=lambda word: -shares[word])[:NOUNS]
    return [{"word": word, "cells": [column.get(word) for column in columns]} for word in ranked]


def _rest(rows: Sequence[BranchRow], column: int) -> float:
    cells = (row["cells"][column] for row in rows)
    return max(1.0 - sum(cell["value"] for cell in cells if cell is not None), 0.0)


def _null(trees: Sequence[EvidencePiece]) -> dict[str, float]:
    """Returns the null's nouns; each tree knows it only as far as its own nodes go, so the largest share is taken."""
    shares: dict[str, float] = {}
    for tree in trees:
        for word, share in tree["null"].items():
            shares[word] = max(shares.get(word, 0.0), share)
    ranked = sorted(((word, share) for word, share in shares.items() if share >= MIN_NULL), key=lambda item: -item[1])
    return dict(ranked[:NULL_NOUNS])
