"""Reviewing over HTTP: the box, its buttons, what it says, and what happens when the log is locked."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import agent.log.run_log
from agent.log.labels import LabelRow, labels_of
from agent.log.reviews import reviews_of
from agent.log.run_log import RunLog
from tests.serving import OURS, Parsed, client, scored_log

PART = {**OURS, "X-Part": "review"}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with scored_log(tmp_path / "log.db", n_labels=12) as found:
        yield found


@pytest.fixture
def browser(log: RunLog) -> TestClient:
    return client(log)


@pytest.fixture
def label(log: RunLog) -> LabelRow:
    return next(row for row in log.read(labels_of, 1) if row.status == "labelled" and row.feature > 0)


def _place(label: LabelRow, query: str = "") -> str:
    return f"/runs/1/features/{label.feature}/review{query}"


@pytest.mark.parametrize(
    ("form", "kept"),
    [
        ({"verdict": "accept", "label": "left out", "note": ""}, ("accept", None, None)),
        ({"verdict": "reject"}, ("reject", None, None)),
        ({"verdict": "flag"}, ("flag", None, None)),
        ({"verdict": "edit", "label": " hounds é \u202e"}, ("edit", "hounds é \u202e", None)),
        ({"verdict": "note", "note": "one\r\ntwo <b>"}, ("note", None, "one\r\ntwo <b>")),
    ],
)
def test_each_button_is_a_row(
    log: RunLog, browser: TestClient, label: LabelRow, form: dict[str, str], kept: tuple[str, ...]
) -> None:
    answer = browser.post(_place(label, "?search=dog"), data=form, headers=OURS)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/runs/1/features/{label.feature}?search=dog#review"
    (found,) = log.read(reviews_of, [label.label_id])
    assert (found.verdict, found.label, found.note) == kept
    assert found.reviewer == "ann"
    assert log.read(labels_of, 1, features=[label.feature]) == [label]


def test_the_script_gets_the_box_again(browser: TestClient, label: LabelRow) -> None:
    page = browser.post(_place(label), data={"verdict": "accept"}, headers=PART).text
    parsed = Parsed(page)
    pressed = [dict(e.attributes) for e in parsed.elements if dict(e.attributes).get("aria-pressed") == "true"]
    assert [button["value"] for button in pressed] == ["accept"]
    assert "accept by ann" in " ".join(parsed.text.split())
    assert not [element for element in parsed.elements if element.name in ("html", "main", "script")]


def test_undo_takes_back_and_says_so_when_there_is_nothing_left(browser: TestClient, label: LabelRow) -> None:
    browser.post(_place(label), data={"verdict": "accept"}, headers=PART)
    page = browser.post(_place(label), data={"verdict": "undo"}, headers=PART).text
    assert "Undone." in page
    assert 'aria-pressed="true"' not in page
    page = browser.post(_place(label), data={"verdict": "undo"}, headers=PART).text
    assert "You have no review to undo." in page


def test_the_keys_lead_through_the_filter(log: RunLog, browser: TestClient, label: LabelRow) -> None:
    page = browser.post(_place(label, "?status=labelled&sort=-feature"), data={"verdict": "accept"}, headers=PART).text
    keys = {dict(e.attributes)["data-key"]: dict(e.attributes) for e in Parsed(page).elements if "data-key" in e.shape}
    labelled = sorted((row.feature for row in log.read(labels_of, 1, status="labelled")), reverse=True)
    after = labelled[labelled.index(label.feature) + 1 :][:1]
    assert set("arfuent") <= set(keys)
    assert all(keys[key].get("data-help") for key in keys)
    if after:
        assert (keys["]"]["href"] or "").startswith(f"/runs/1/features/{after[0]}?")
        assert "status=labelled" in (keys["]"]["href"] or "")


@pytest.mark.parametrize(
    "form", [{"verdict": "edit", "label": " "}, {"verdict": "note", "note": ""}, {"verdict": "x"}, {}]
)
def test_an_empty_or_unknown_review_is_one_sentence(
    log: RunLog, browser: TestClient, label: LabelRow, form: dict[str, str]
) -> None:
    for headers in (OURS, PART):
        answer = browser.post(_place(label), data=form, headers=headers)
        assert answer.status_code == 400
        assert "Traceback" not in answer.text
    assert not log.read(reviews_of, [label.label_id])


def test_a_locked_log_loses_nothing_that_was_typed(
    log: RunLog, browser: TestClient, label: LabelRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent.log.run_log, "_REVIEW_WAIT_S", 0.01)
    form = {"verdict": "note", "note": "what I thought\nof it </textarea>"}
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = browser.post(_place(label), data=form, headers=OURS)
        part = browser.post(_place(label), data=form, headers=PART)
        other.execute("COMMIT")
    assert answer.status_code == part.status_code == 503
    assert "another process holds it" in answer.text
    assert part.headers["content-type"].startswith("text/plain")
    assert form["note"] in Parsed(answer.text).text
    retry = next(dict(e.attributes) for e in Parsed(answer.text).elements if e.shape == ("form", "method", "action") and
                 "review" in (dict(e.attributes)["action"] or ""))  # fmt: skip
    assert browser.post(retry["action"] or "", data=form, headers=OURS).status_code == 303
    assert len(log.read(reviews_of, [label.label_id])) == 1


def test_long_and_broken_forms_are_refused(log: RunLog, browser: TestClient, label: LabelRow) -> None:
    assert browser.post(_place(label), data={"note": "x" * 200_000}, headers=OURS).status_code == 413
    assert browser.post(_place(label), content="&".join("a=1" for _ in range(50)), headers=OURS).status_code == 400
    assert browser.post(_place(label), content=b"\xff\xfe%ff%00=%", headers=OURS).status_code == 400
    assert not log.read(reviews_of, [label.label_id])


def test_features_without_a_label_are_not_found_and_failed_ones_not_reviewed(log: RunLog, browser: TestClient) -> None:
    assert browser.post("/runs/1/features/999/review", data={"verdict": "accept"}, headers=OURS).status_code == 404
    failed = next(row for row in log.read(labels_of, 1) if row.status == "failed")
    answer = browser.post(_place(failed), data={"verdict": "accept"}, headers=PART)
    assert answer.status_code == 503
    assert "nothing to review" in answer.text


def test_blind_a_reviewer_sees_others_reviews_only_after_judging(log: RunLog, label: LabelRow) -> None:
    client(log, reviewer="bob").post(_place(label), data={"verdict": "reject"}, headers=OURS)
    browser = client(log)
    browser.post("/blind", data={"back": "/"}, headers=OURS)
    page = browser.post(_place(label), data={"verdict": "flag"}, headers=PART).text
    assert "bob" not in page
    assert "data-hidden" in page
    page = browser.post(_place(label), data={"verdict": "accept"}, headers=PART).text
    assert "bob" in page
    assert "data-hidden" not in page
    assert [review.blind for review in log.read(reviews_of, [label.label_id])] == [False, True, True]


def test_read_only_pages_have_no_buttons(log: RunLog, label: LabelRow) -> None:
    page = client(log, read_only=True).get(f"/runs/1/features/{label.feature}").text
    assert 'value="accept"' not in page
    assert "read-only" in page
