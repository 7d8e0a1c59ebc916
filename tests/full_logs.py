"""A log with a row of every kind that a run leaves, made without a subject."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agent.log.evidence import add_evidence, evidence_rows
from agent.log.examples import add_collected, begin_corpus
from agent.log.labels import add_label, labels_of
from agent.log.reviews import Review, add_review
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, finish_run
from agent.log.scores import add_scores, begin_scoring
from agent.schema import Outcome
from probes.evidence import Evidence
from tests.fakes import DOGS, tree
from tests.logged import (
    add_call,
    answer,
    collected,
    corpus_identity,
    identity,
    outcome,
    projection,
    request,
    score,
    scoring_identity,
    token_list,
)


def fill(
    path: Path,
    features: Iterable[int],
    outcomes: dict[int, Outcome] | None = None,
    asked: Iterable[int] | None = None,
    who: RunIdentity | None = None,
    scored: bool = True,
    new: bool = False,
) -> int:
    """Brings the run of that identity as far as `features`, each with all that hangs on it; the run's id."""
    features = list(features)
    with RunLog.open(path) as log:
        corpus_id = log.write(begin_corpus, corpus_identity()).result()
        run_id = log.begin_run(who or identity(), list(asked or features), new=new).run_id
        for feature in features:
            label(log, run_id, (outcomes or {}).get(feature) or outcome(feature, label=f"dogs {feature}"))
            log.write(add_collected, corpus_id, collected(feature), {"d0": "shown", "d1": "held_out"}).result()
        if scored:
            scoring_id = log.write(begin_scoring, scoring_identity(run_id, corpus_id)).result()
            for row in log.read(labels_of, run_id, features=features):
                log.write(add_scores, scoring_id, [*scores_of(row.label_id, row.feature, row.label)]).result()
        log.write(finish_run, run_id).result()
    return run_id


def label(log: RunLog, run_id: int, said: Outcome, response: str = "a dog") -> None:
    """One feature with its evidence, a call and what became of it."""
    evidence: list[Evidence] = [
        tree(DOGS, said.feature),
        token_list(" dog", " <b>", feature=said.feature),
        projection(said.feature),
    ]
    log.write(add_evidence, evidence_rows(run_id, said.feature, 1, evidence)).result()
    add_call(log, run_id, request(said.feature), answer(response))
    log.write(add_label, run_id, said).result()


def scores_of(label_id: int, feature: int, words: str) -> Iterable[Any]:
    """A label and a control on whole texts, and the label unscored on new words."""
    common = {"feature": feature, "label": words}
    yield score(label_id, **common, value=0.7, low=0.5, high=0.9, n=20, extra={"recall": 0.5})
    yield score(label_id, **common | {"label": "a bird"}, variant="shuffled", value=0.5, low=0.3, high=0.7, n=20)
    yield score(label_id, **common, part="new_words", value=None, reason="no text of new words")


def review(path: Path, run_id: int, feature: int, verdict: Any, reviewer: str = "ann", **said: Any) -> None:
    """A reviewer's verdict on a label."""
    with RunLog.open(path, read_only=True) as log:
        [row] = log.read(labels_of, run_id, features=[feature])
        log.write_at_once(add_review, row.label_id, reviewer, Review(verdict=verdict, **said))
