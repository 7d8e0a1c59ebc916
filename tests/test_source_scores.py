"""Scores that sources give labels of their own: kept in the log, and shown beside ours."""

from pathlib import Path

import pytest

from agent.log.examples import add_corpus, examples_of
from agent.log.run_log import RunLog
from eval.scoring.source_scores import source_scores
from probes.examples import Baseline, BaselineScore, FeatureExamples
from tests.logged import corpus_identity, score


def fuzzing(value: float) -> BaselineScore:
    return BaselineScore(scorer="fuzzing", metric="balanced_accuracy", value=value, n=20)


FOUND = [
    FeatureExamples(
        3, None, (), [Baseline(3, "dogs", "delphi", [fuzzing(0.5)]), Baseline(3, "more", "delphi", [fuzzing(1)])]
    ),
    FeatureExamples(4, None, (), [Baseline(4, "cats", "delphi", [fuzzing(1.0)]), Baseline(4, "cat", "someone")]),
]


def test_they_are_averaged_by_author_and_scorer_with_ours_on_the_same_features() -> None:
    values = [(3, "fuzzing", 0.75), (4, "fuzzing", 0.25), (5, "fuzzing", 1.0), (3, "detection", 0.1)]
    ours = [score(feature, feature=feature, scorer=scorer, value=value) for feature, scorer, value in values]
    [line] = source_scores(FOUND, ours, seed=0)
    assert (line.author, line.scorer, line.mean.value, line.mean.n) == ("delphi", "fuzzing", 0.75, 2)
    assert line.ours is not None
    assert (line.ours.value, line.ours.n) == (0.5, 2)
    [alone] = source_scores(FOUND, [], seed=0)
    assert alone.ours is None


def test_a_log_keeps_them(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "l.db") as log:
        corpus = log.write(add_corpus, corpus_identity(), [(one, {}) for one in FOUND])
        kept = log.read(examples_of, corpus.result(), 3)
    assert kept is not None
    assert [*kept.baselines[0].scores] == [fuzzing(0.5)]


@pytest.mark.parametrize("value", [1, 1.0])
def test_whole_numbers_are_scores_too(tmp_path: Path, value: float) -> None:
    found = FeatureExamples(3, None, (), [Baseline(3, "dogs", "delphi", [fuzzing(value)])])
    with RunLog.open(tmp_path / "l.db") as log:
        log.write(add_corpus, corpus_identity(), [(found, {})]).result()
        kept = log.read(examples_of, 1, 3)
    assert kept is not None
    assert kept.baselines[0].scores[0]["value"] == 1
