"""Rounds that do not pay by the log's history: what is concluded, from what, and what a run does with it."""

import asyncio
from functools import partial
from typing import Any

import pytest

import agent.run
from agent.calls.asking import Asker
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.labels import add_label, labels_of
from agent.log.reviews import Review, add_review, undo_review
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity, chosen_run
from agent.loop import Loop
from agent.planning import Planner
from agent.prober import DeviceThread, Prober
from agent.replay import replay
from agent.run import run_features
from agent.run_spec import RunSpec
from agent.schema import Outcome
from eval.paying_rounds import FEWEST, paying_rounds
from eval.scoring.shown_examples import CorpusExamples
from tests.fakes import CARD, DOGS, SUBJECT, FakeExplainer, FakeProbes, Notes, config, contrasted, open_door, tree
from tests.logged import RULES, card, identity, outcome
from tests.test_loop import ABSTAIN, BLEND, LABEL, PROBE

N = 2 * FEWEST


def history(
    log: RunLog, n_right: int = 0, n_wrong: int = 0, n_abstained: int = 0, p_value: float = 0.01, **given: Any
) -> int:
    """A run whose features all went on to round 3, judged by a reviewer."""
    settings = {"rounds": 4, **given.pop("settings", {})}
    n = n_right + n_wrong + n_abstained
    run_id = log.begin_run(identity(settings=settings, **given), range(n), new=True).run_id
    for feature in range(n):
        log.write(add_evidence, evidence_rows(run_id, feature, 1, [contrasted(tree(DOGS, feature), p_value)])).result()
        status = "labelled" if feature < n_right + n_wrong else "abstained"
        log.write(add_label, run_id, outcome(feature, status=status, rounds=3)).result()
    for row in log.read(labels_of, run_id, status="labelled"):
        verdict = "accept" if row.feature < n_right else "reject"
        log.write_at_once(add_review, row.label_id, "me", Review(verdict=verdict))
    return run_id


def paying(log: RunLog, least_gain: float = 0.2, fingerprint: str = card().fingerprint) -> dict[str, int]:
    return dict(paying_rounds(log, RULES, fingerprint, 4, least_gain).rounds)


def test_where_those_that_went_on_were_hardly_ever_right_another_round_does_not_pay(log: RunLog) -> None:
    history(log, n_right=1, n_wrong=N - 1)
    found = paying_rounds(log, RULES, card().fingerprint, 4, 0.2)
    assert found.rounds == {"clear": 1}
    (gain,) = found.gains
    assert (gain.labelled.k, gain.labelled.n) == (N, N)
    assert gain.right is not None
    assert (gain.right.k, gain.right.n) == (1, N)
    assert gain.most == pytest.approx(gain.labelled.interval[1] * gain.right.interval[1])
    assert f"1 where the first evidence is graded clear: of {N} such features that went on 1.00" in gain.sentence()


def test_where_they_were_right_often_enough_it_pays(log: RunLog) -> None:
    history(log, n_right=N // 2, n_wrong=N // 2)
    assert paying(log) == {}
    assert paying(log, least_gain=0.9) == {"clear": 1}


def test_features_that_went_on_and_were_never_labelled_gained_nothing(log: RunLog) -> None:
    history(log, n_abstained=N)
    assert paying(log) == {"clear": 1}


def test_of_few_features_or_few_judged_labels_nothing_is_concluded(log: RunLog) -> None:
    history(log, n_wrong=FEWEST - 1)
    assert paying(log) == {}
    other = "e" * 64
    run_id = history(log, n_wrong=N, subject=card(fingerprint=other, name="other"))
    assert paying(log, fingerprint=other) == {"clear": 1}
    for row in log.read(labels_of, run_id)[FEWEST // 2 :]:
        log.write_at_once(undo_review, row.label_id, "me")
    assert paying(log, fingerprint=other) == {}


def test_grades_are_apart_and_other_explainers_and_stopped_runs_say_nothing(log: RunLog) -> None:
    history(log, n_wrong=N, p_value=0.04)
    assert paying(log) == {"good": 1}
    history(log, n_wrong=N, explainer="another", p_value=0.2)
    history(log, n_wrong=N, settings={"least_gain": 0.5, "paying": {}}, p_value=0.2)
    assert paying(log) == {"good": 1}


def test_a_subjects_own_history_comes_before_that_of_others(log: RunLog) -> None:
    history(log, n_wrong=N)
    assert paying(log, fingerprint="e" * 64) == {"clear": 1}
    history(log, n_right=N, subject=card(fingerprint="e" * 64, name="other"))
    assert paying(log, fingerprint="e" * 64) == {}


async def labelled(log: RunLog, explainer: FakeExplainer, paying: dict[str, int], run_id: int) -> Outcome:
    async with Prober(DeviceThread(partial(FakeProbes(), None))) as prober:
        planner = Planner(PROBE, ("encoder",), CARD.default_scale)
        asker = Asker(explainer, log, run_id, open_door())
        loop = Loop(run_id, CARD, planner, 3, prober, asker, log, "read well", paying=paying)
        return await loop.label_feature(7)


@pytest.mark.parametrize(
    ("paying", "rounds"), [({}, 3), ({"not compared": 2}, 2), ({"not compared": 9}, 3), ({"clear": 1}, 3)]
)
def test_a_feature_has_no_more_rounds_than_pay_and_is_told_so(log: RunLog, paying: dict[str, int], rounds: int) -> None:
    run_id = log.begin_run(RunIdentity(subject=CARD, settings={}, explainer="fake", templates={}), [7], new=True).run_id
    explainer = FakeExplainer([BLEND, BLEND.model_copy(update={"settings": None}), ABSTAIN])
    found = asyncio.run(labelled(log, explainer, paying, run_id))
    assert found.rounds == len(explainer.requests) == rounds
    assert f"Round {rounds} of {rounds}. This is the last round" in explainer.requests[-1].prompt


def test_what_pays_is_part_of_a_run_and_only_where_it_was_asked_for() -> None:
    explainer = FakeExplainer([LABEL])
    plain = RunSpec(config(), SUBJECT, explainer, paying={"clear": 1}).identity
    asked = RunSpec(config(least_gain=0.1), SUBJECT, explainer, paying={"clear": 1}).identity
    assert "paying" not in plain.settings
    assert (asked.settings["least_gain"], asked.settings["paying"]) == (0.1, {"clear": 1})


def test_a_run_that_was_stopped_replays(log: RunLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.run, "run_probes", FakeProbes())
    spec = RunSpec(config(least_gain=0.1), SUBJECT, FakeExplainer([BLEND]), paying={"clear": 1, "not compared": 1})
    report = asyncio.run(run_features(spec, log, range(3), False, Notes()))
    run = log.read(chosen_run, report.run_id)
    found = asyncio.run(replay(log, run, CorpusExamples))
    assert {one.verdict for one in found} == {"identical"}
    assert {one.stored.rounds for one in found} == {1}
