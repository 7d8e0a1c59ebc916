"""The embedded subject as it ships: where its files lie, and the measured truth of its features. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "subject"
TRUTH_FILE = FOLDER / "truth.json"


@dataclass(frozen=True)
class KnownConcept:
    """The concept that a feature is known to stand for."""

    name: str
    lineage: tuple[str, ...]
    """The concept and all that it is a kind of."""
    f1: float
    """Of the feature's activating against the concept's words, on text where neither was chosen."""


@dataclass(frozen=True)
class ShippedTruth:
    """Features with a known concept, by index, and the words that name concepts."""

    features: Mapping[int, KnownConcept]
    concept_of_name: Mapping[str, str]
    """Concept by each of its names: its own and its listed synonyms."""


@cache
def load_truth() -> ShippedTruth:
    """The truth measured when the subject was built."""
    data = json.loads(TRUTH_FILE.read_text("utf-8"))
    lineage = {name: tuple(c["lineage"]) for name, c in data["concepts"].items()}
    names = {word: name for name, c in data["concepts"].items() for word in c["names"]}
    features = {
        row["feature"]: KnownConcept(row["concept"], lineage[row["concept"]], row["fit"]["f1"])
        for row in data["features"]
        if row["known"]
    }
    return ShippedTruth(features, names)
