"""Scorers whose judge misbehaves: what it leaves unscored has its reason, and none of it counts against a label."""

import pytest

from eval.scoring import report
from tests.scorer_faults import ASKING, BATCHED, CASES, TRUE_LABELS, Case, Worked, work


@pytest.fixture(params=CASES, ids=lambda case: case.name, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def worked(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Worked:
    return work(case, tmp_path_factory.mktemp("faults") / "planted.db")


def test_a_label_is_scored_in_full_or_not_at_all(case: Case, worked: Worked) -> None:
    mine = [score for score in worked.scores if (score.variant, score.part) == ("label", "held_out")]
    assert len(mine) == (0 if case.stops else len(ASKING) * len(TRUE_LABELS))
    assert all(score.value == pytest.approx(1) for score in mine if score.value is not None)
    assert all(case.reason in str(score.reason) for score in mine if score.value is None)
    for score in mine:
        without = [item for item in score.items if item["prediction"] is None]
        assert all(item["reason"] for item in without)
        if score.value is not None and score.scorer in BATCHED:
            assert bool(without) is case.partly


def test_the_report_counts_what_is_unscored(case: Case, worked: Worked) -> None:
    everything = report.unscored(worked.scores, ASKING, len(TRUE_LABELS))
    found = {lack.scorer: lack for lack in everything if lack.variant == "label"}
    assert {scorer: lack.n for scorer, lack in found.items()} == {
        scorer: len(TRUE_LABELS) if case.stops else case.unscored_by(scorer) for scorer in ASKING
    }
    assert all(lack.reasons == [("not reached", len(TRUE_LABELS))] for lack in found.values() if case.stops)
    assert {name for name in BATCHED if found[name].n_texts} == {*(BATCHED if case.partly else ())}
    reasons = [reason for lack in found.values() for reason, _ in lack.reasons]
    assert all(case.reason in reason for reason in reasons)


def test_every_request_is_a_row(case: Case, worked: Worked) -> None:
    assert worked.n_calls >= worked.n_asked > 0
    assert worked.n_calls == worked.n_asked or case.stops
    assert case.stops in worked.stopped
    assert bool(case.stops) is bool(worked.stopped)
