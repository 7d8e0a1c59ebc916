"""Reviews in the log: rows that are added and never changed, what stands of them, and how far reviewers agree."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import cohen_kappa_score

import agent.log.run_log
from agent.errors import LogError
from agent.log.labels import add_label, labels_of
from agent.log.reviews import Review, add_review, latest_verdict, reviews_of, undo_review, verdicts_of
from agent.log.run_log import RunLog
from agent.web.agreement import agreements, kappa
from probes.errors import SettingsError
from tests import logged

ACCEPT, REJECT = Review(verdict="accept"), Review(verdict="reject")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with labels 1 and 2, and 3 of a feature that failed."""
    found = tmp_path / "log.db"
    with RunLog.open(found) as log:
        run = log.begin_run(logged.identity(), range(3))
        for feature, status in enumerate(("labelled", "abstained", "failed")):
            log.write(add_label, run.run_id, logged.outcome(feature, status=status)).result()
    return found


@pytest.fixture
def log(path: Path) -> Iterator[RunLog]:
    with RunLog.open(path, read_only=True) as found:
        yield found


def test_a_review_is_kept_with_reviewer_and_time_beside_the_label(log: RunLog) -> None:
    before = log.read(labels_of, 1)
    log.write_at_once(
        add_review, 1, "ann \ud83d", Review(verdict="edit", label="hounds\0", note="too wide", blind=True)
    )
    (found,) = log.read(reviews_of, [1])
    assert (found.reviewer, found.verdict, found.label, found.note) == ("ann \ud83d", "edit", "hounds\0", "too wide")
    assert (found.blind, found.undone) == (True, False)
    assert found.created.endswith("Z")
    assert log.read(labels_of, 1) == before


def test_undo_takes_back_the_reviewers_own_latest_and_keeps_every_row(path: Path, log: RunLog) -> None:
    log.write_at_once(add_review, 1, "ann", ACCEPT)
    log.write_at_once(add_review, 1, "ann", REJECT)
    log.write_at_once(add_review, 1, "bob", ACCEPT)
    assert log.write_at_once(undo_review, 1, "ann")
    assert [review.undone for review in log.read(reviews_of, [1])] == [False, True, False]
    assert log.read(verdicts_of, 1) == {"ann": {1: "accept"}, "bob": {1: "accept"}}
    assert log.write_at_once(undo_review, 1, "ann")
    assert not log.write_at_once(undo_review, 1, "ann")
    assert not log.write_at_once(undo_review, 2, "ann")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM reviews").fetchone() == (5,)


def test_the_latest_verdict_stands_and_flags_and_notes_leave_it(log: RunLog) -> None:
    for review in (ACCEPT, REJECT, Review(verdict="flag"), Review(verdict="note", note="hm")):
        log.write_at_once(add_review, 1, "ann", review)
    assert latest_verdict(log.read(reviews_of, [1])) == "reject"
    assert log.read(verdicts_of, 1) == {"ann": {1: "reject"}}


def test_verdicts_given_blind_can_be_had_apart(log: RunLog) -> None:
    log.write_at_once(add_review, 1, "ann", Review(verdict="accept", blind=True))
    log.write_at_once(add_review, 1, "ann", Review(verdict="reject"))
    log.write_at_once(add_review, 1, "bob", Review(verdict="accept"))
    log.write_at_once(add_review, 2, "bob", Review(verdict="reject", blind=True))
    assert log.read(verdicts_of, 1) == {"ann": {1: "reject"}, "bob": {1: "accept", 2: "reject"}}
    assert log.read(verdicts_of, 1, blind=True) == {"ann": {1: "accept"}, "bob": {2: "reject"}}


@pytest.mark.parametrize(("label_id", "why"), [(3, "failed"), (99, "no label 99")])
def test_what_cannot_be_reviewed_is_refused(log: RunLog, label_id: int, why: str) -> None:
    with pytest.raises(LogError, match=why):
        log.write_at_once(add_review, label_id, "ann", ACCEPT)
    assert not log.read(reviews_of, [label_id])


@pytest.mark.parametrize(
    "said",
    [
        {"verdict": "edit"},
        {"verdict": "edit", "label": "  "},
        {"verdict": "accept", "label": "dogs"},
        {"verdict": "note"},
        {"verdict": "undo"},
        {"verdict": "edit", "label": "x" * 201},
        {"verdict": "note", "note": "x" * 10_001},
    ],
)
def test_a_review_says_something_and_not_too_much(said: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Review.parse(said)


def test_reviews_are_kept_while_a_run_is_writing(path: Path) -> None:
    with RunLog.open(path) as writing, RunLog.open(path, read_only=True) as log:
        run = writing.begin_run(logged.identity(), range(300))
        futures = [writing.write(add_label, run.run_id, logged.outcome(feature)) for feature in range(10, 300)]
        for _ in range(20):
            log.write_at_once(add_review, 1, "ann", ACCEPT)
        for future in futures:
            future.result()
        assert len(log.read(reviews_of, [1])) == 20
        assert len(log.read(labels_of, 1)) == 293


def test_a_locked_log_is_one_sentence_and_not_for_ever(
    path: Path, log: RunLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.log.run_log, "_REVIEW_WAIT_S", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogError, match="another process holds it"):
            log.write_at_once(add_review, 1, "ann", ACCEPT)
        other.execute("COMMIT")
    log.write_at_once(add_review, 1, "ann", ACCEPT)
    assert len(log.read(reviews_of, [1])) == 1


def test_datasette_finds_each_label_with_its_latest_verdict(path: Path, log: RunLog) -> None:
    log.write_at_once(add_review, 1, "ann", ACCEPT)
    log.write_at_once(add_review, 1, "bob", Review(verdict="edit", label="hounds"))
    log.write_at_once(add_review, 2, "ann", REJECT)
    log.write_at_once(undo_review, 2, "ann")
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT feature, label, verdict, reviewed_label, reviewer FROM labels_reviewed").fetchall()
    assert found == [(0, "dogs", "edit", "hounds", "bob"), (1, "dogs", None, None, None), (2, "dogs", None, None, None)]


@pytest.mark.parametrize("seed", range(20))
def test_kappa_is_scikit_learns(seed: int) -> None:
    dice = random.Random(seed)
    lean = dice.random()
    pairs = [(a := dice.random() < lean, a if dice.random() < 0.7 else dice.random() < lean) for _ in range(60)]
    found = kappa(pairs, seed=0)
    expected = cohen_kappa_score([a for a, _ in pairs], [b for _, b in pairs])
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high
    assert found == kappa(pairs, seed=0)


def test_kappas_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Two reviewers who agree beyond chance on .6: each repeats the truth with chance .6**.5, else tosses a coin."""
    dice = random.Random(1)
    covered = 0
    for _ in range(200):
        pairs = [tuple(truth if dice.random() < 0.6**0.5 else dice.random() < 0.5 for _ in "ab")
                 for truth in (dice.random() < 0.5 for _ in range(120))]  # fmt: skip
        found = kappa(pairs, seed=0)  # type: ignore[arg-type]
        covered += found.low <= 0.6 <= found.high  # type: ignore[operator]
    assert 180 <= covered <= 199


@pytest.mark.parametrize("pairs", [[], [(True, True)] * 9])
def test_without_any_variance_there_is_no_kappa(pairs: list[tuple[bool, bool]]) -> None:
    found = kappa(pairs, seed=0)
    assert found.value is None
    assert found.reason


def test_agreement_is_over_labels_that_both_judged_and_edits_are_no_rejections() -> None:
    given: dict[str, Any] = {
        "ann": {1: "accept", 2: "reject", 3: "accept", 4: "accept"},
        "bob": {1: "edit", 2: "reject", 3: "reject", 5: "accept"},
        "cay": {9: "accept"},
    }
    (found,) = agreements(given, seed=0)
    assert (found.one, found.other, found.kappa.n, found.n_agreed) == ("ann", "bob", 3, 2)
    assert found.kappa.value == pytest.approx(0.4)
