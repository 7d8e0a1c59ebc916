"""Scoring of features that need no label: by the intruder scorer, on a run that abstained on some of them."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

import pytest

from agent.log.examples import examples_of
from agent.log.run_log import RunLog
from eval.scoring import report
from eval.scoring.density import DensityIndex
from probes.examples import Example, FeatureExamples
from tests.planted_labels import TRUE, Planted, RuleExplainer, Told, of_feature, plant, score, scoring
from tests.test_scoring import named


def planted_run(log: RunLog) -> Planted:
    return plant(log, TRUE, statuses={0: "abstained", 1: "failed"})


def test_features_are_scored_whatever_became_of_their_label(log: RunLog) -> None:
    judge = RuleExplainer()
    scores = score(planted_run(log), judge, ["intruder", "detection"])
    mine = {one.feature: one for one in named(scores, scorer="intruder") if one.variant != "mixed"}
    assert {feature: one.variant for feature, one in mine.items()} == {
        0: "unlabelled",
        1: "unlabelled",
        **dict.fromkeys(range(2, 6), "feature"),
    }
    assert {one.value for one in mine.values()} == {1}
    assert {one.label for one in mine.values()} == {""}
    assert not [request for request in judge.requests if request.purpose == "intruder" and "Label" in request.prompt]
    unlabelled = {(one.feature, one.value) for one in named(scores, scorer="detection", variant="label") if one.reason}
    assert {feature for feature, _ in unlabelled} >= {0, 1}


def test_a_report_tells_labelled_features_from_the_others_and_has_no_label_ahead(log: RunLog) -> None:
    scores = score(planted_run(log), RuleExplainer(), ["intruder"])
    found = {line.variant: line for line in report.score_summaries(scores, 0)}
    assert {variant: line.mean.n for variant, line in found.items()} == {"feature": 4, "unlabelled": 2}
    assert [line.chance for line in found.values()] == pytest.approx([0.2, 0.2])
    assert {line.ahead for line in found.values()} == {None}
    (lack,) = report.unscored(scores, ["intruder"], 6)
    assert (lack.variant, lack.n, lack.of) == ("mixed", 6, 6)
    assert lack.reasons == [("examples of fewer than 5 other features about as often active", 6)]


def test_nothing_is_asked_a_second_time(log: RunLog) -> None:
    planted, judge = planted_run(log), RuleExplainer()
    score(planted, judge, ["intruder"])
    n_asked = len(judge.requests)
    score(planted, judge, ["intruder"])
    assert len(judge.requests) == n_asked > 0


def test_intruders_come_from_features_that_activate_about_as_often_and_are_no_neighbours(log: RunLog) -> None:
    def rarer(feature: int) -> FeatureExamples:
        found = of_feature(feature)
        assert found.activity is not None
        n_active = 40 * 10 ** (feature % 2)
        return replace(found, activity=replace(found.activity, n_active=n_active, counts=(n_active,)))

    planted = plant(log, examples=rarer)
    assert planted.corpus_id is not None
    index = DensityIndex.of(log, planted.corpus_id)
    assert [*index.matched(0, (), ())] == [2, 4]
    assert [*index.matched(0, {2}, ())] == [4]
    assert {e.kind for examples in index.matched(1, (), ()).values() for e in examples} == {"activating"}
    assert index.matched(99, (), ()) == {}
    held_out = log.read(examples_of, planted.corpus_id, 2, "held_out", ["activating"])
    assert held_out is not None
    assert index.matched(0, {4}, ())[2] == [*held_out.examples]
    shared, *others = held_out.examples
    assert index.matched(0, {4}, {shared.document})[2] == [e for e in others if e.document != shared.document]


def test_no_intruder_is_of_the_nearest_feature_or_of_a_text_of_the_features_own(
    log: RunLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out: list[tuple[int, Collection[int], Collection[str]]] = []

    def matched(
        _index: DensityIndex, feature: int, without: Collection[int], documents: Collection[str]
    ) -> dict[int, list[Example]]:
        left_out.append((feature, without, documents))
        return {}

    monkeypatch.setattr(DensityIndex, "matched", matched)
    planted = plant(log)
    assert planted.corpus_id is not None
    made = replace(scoring(planted, RuleExplainer(), ["intruder"]), nearest={0: [4]})
    asyncio.run(made.score(planted.rows[:1], 1, Told()))
    [(feature, without, documents)] = left_out
    own = log.read(examples_of, planted.corpus_id, 0, None, ["activating"])
    assert own is not None
    assert feature == 0
    assert 4 in without
    assert {*documents} == {example.document for example in own.examples}
