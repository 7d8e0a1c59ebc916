"""Labels of a planted perfect SAE, true ones and half-right ones, scored through a real SDK by a server that answers by
rule."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.llm import make_explainer
from agent.log.run_log import RunLog
from agent.log.scores import ScoreRow, scores_of
from eval.metrics import Estimate
from eval.scoring.report import score_summaries
from tests.fault_runs import environment
from tests.llm_server import LLMServer
from tests.planted_labels import HALF, TRUE, Told, plant, scoring
from tests.scorer_faults import by_rule

NAMES = ("detection", "fuzzing", "simulation", "discrimination", "clarity", "embedding")
LABELS = {"label": "true", "one_shot": "one shot", "tokens": "top tokens", "half": "half right", "shuffled": "shuffled"}
CHANCE = dict.fromkeys(NAMES, 0.5) | {"simulation": 0.0, "discrimination": 0.25}
"""What a label gets that has nothing to do with the feature; discrimination chooses among four texts."""


@dataclass(frozen=True)
class Scored:
    """Means over features, by scorer and by the words for the labels; controls are those of the true labels."""

    means: Mapping[tuple[str, str], Estimate]
    n_asked: int


def scored_by_rule(folder: Path, provider: str = "openai") -> Scored:
    """Both sets of labels, by every scorer."""
    with environment(), LLMServer(by_rule) as server:
        found = {
            "label": _scores(server, provider, folder / "true.db", TRUE),
            "half": _scores(server, provider, folder / "half.db", HALF),
        }
        n_asked = len(server.history)
    means = {
        (line.scorer, LABELS[line.variant if key == "label" else key]): line.mean
        for key, scores in found.items()
        for line in score_summaries(scores, 0)
        if line.part == "held_out" and (line.variant == "label" or key == "label")
    }
    return Scored(means, n_asked)


def _scores(server: LLMServer, provider: str, path: Path, labels: Mapping[int, str]) -> list[ScoreRow]:
    with RunLog.open(path) as log:
        planted = plant(log, labels)
        explainer = make_explainer(f"{provider}:model-a", server.base_url(provider))
        made = scoring(planted, explainer, NAMES, concepts={})

        async def measured() -> None:
            await made.score(planted.rows, 4, Told())
            await explainer.close()

        asyncio.run(measured())
        return log.read(scores_of, made.scoring_id)
