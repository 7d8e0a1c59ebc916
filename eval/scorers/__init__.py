"""Scorers by name. Each measures a label against what really activates the feature; what they share is in `base`."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from eval.scorers.base import Embedder, Judge, Runner, Scorer
from eval.scorers.clarity import Clarity
from eval.scorers.detection import Detection
from eval.scorers.discrimination import Discrimination
from eval.scorers.embedding import Embedding
from eval.scorers.fuzzing import Fuzzing
from eval.scorers.intruder import Intruder
from eval.scorers.output import OutputSimilarity, OutputSuccess
from eval.scorers.purity import Purity
from eval.scorers.responsiveness import Responsiveness
from eval.scorers.simulation import Simulation
from probes.errors import SettingsError

SCORERS: dict[str, type[Any]] = {
    "detection": Detection,
    "fuzzing": Fuzzing,
    "simulation": Simulation,
    "embedding": Embedding,
    "clarity": Clarity,
    "discrimination": Discrimination,
    "output": OutputSuccess,
    "output_similarity": OutputSimilarity,
    "responsiveness": Responsiveness,
    "purity": Purity,
    "intruder": Intruder,
}
"""Classes of scorers; each is made from what it `needs`."""


@dataclass(frozen=True)
class ScorerTools:
    """Tools that scorers may need; None for those that this run lacks."""

    judge: Judge | None = None
    runner: Runner | None = None
    embedder: Embedder | None = None


_LACKING = {
    "judge": "a language model to ask, which offline is not; name one with --llm, or score by --scorers embedding",
    "runner": "the subject to run texts on; name it with --subject or --model",
    "embedder": "something that embeds texts",
}


def check_scorers(names: Iterable[str], has: Collection[str]) -> None:
    """Raises SettingsError for a scorer that is unknown or lacks what it needs."""
    for name in names:
        if name not in SCORERS:
            near = get_close_matches(name, SCORERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(SCORERS)}."
            raise SettingsError(f"There is no scorer {name!r}; {hint}")
        for need in sorted(SCORERS[name].needs.difference(has)):
            raise SettingsError(f"Scorer {name} needs {_LACKING[need]}.")


def make_scorers(names: Sequence[str], tools: ScorerTools) -> list[Scorer]:
    """The scorers of these names, each once. Raises SettingsError as `check_scorers` does."""
    has = {field.name: getattr(tools, field.name) for field in fields(tools) if getattr(tools, field.name) is not None}
    check_scorers(names, has)
    return [SCORERS[name](**{need: has[need] for need in SCORERS[name].needs}) for name in dict.fromkeys(names)]
