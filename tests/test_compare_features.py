"""Two features side by side, from the log alone."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.log.evidence import add_evidence, evidence_rows
from agent.log.run_log import RunLog
from tests import logged, serving
from tests.fault_runs import Interpret
from tests.feature_log import side, write_log

pytestmark = pytest.mark.usefixtures("own_folder")
LOG = ("--log", "l.db")


def both(words: str = "") -> None:
    """A log whose first run has looked at feature 9 too, and saw what it saw of feature 5."""
    write_log(Path("l.db"), words)
    with RunLog.open(Path("l.db")) as log:
        log.write(
            add_evidence, evidence_rows(1, 9, 1, [replace(piece, feature=9) for piece in side("encoder", words)])
        ).result()


def test_two_features_stand_side_by_side(interpret: Interpret) -> None:
    both()
    ran = interpret("compare", "5", "9", *LOG)
    assert ran.status == 0, ran.err
    rows = {line.split("  ")[0]: line for line in ran.out.splitlines() if line}
    assert rows["feature"].split() == ["feature", "5", "9"]
    assert rows["label"].split()[1:] == ["dogs"]
    assert rows["status"].split()[1:] == ["labelled", "failed"]
    assert rows["run"].split()[1] == "1,"  # the later run has looked at one of them alone
    [shared] = [line for line in ran.out.splitlines() if line.startswith("In the first token lists of both: ")]
    words = rows["tokens"].removeprefix("tokens").split()
    assert words[: len(words) // 2] == words[len(words) // 2 :]
    assert shared.split(": ")[1] == " ".join(words[: len(words) // 2]) + "."


def test_a_run_that_labels_comes_before_one_that_compared_or_explored(interpret: Interpret) -> None:
    both()
    with RunLog.open(Path("l.db")) as log:
        later = log.begin_run(logged.identity(kind="compare", explainer=""), [5, 9]).run_id
        for feature in (5, 9):
            evidence = [replace(piece, feature=feature) for piece in side("encoder", "")]
            log.write(add_evidence, evidence_rows(later, feature, 1, evidence)).result()
    ran = interpret("compare", "5", "9", *LOG)
    assert ran.status == 0, ran.err
    assert "run" in ran.out
    assert "labelled" in ran.out


def test_a_feature_is_shown_by_the_latest_run_that_has_looked_at_it(interpret: Interpret) -> None:
    both()
    with RunLog.open(Path("l.db")) as log:
        log.begin_run(logged.identity(subject=logged.card(name="other", fingerprint="f" * 64)), [1, 2])
    shown = interpret("show", "5", *LOG)
    assert shown.status == 0, shown.err
    assert "dogs" in shown.out
    assert "has nothing on feature 77" in interpret("show", "77", *LOG).err


def test_texts_from_outside_are_printed_as_escapes(interpret: Interpret) -> None:
    both("\x1b[2J\u202e")
    ran = interpret("compare", "5", "9", *LOG)
    assert ran.status == 0, ran.err
    assert "\\x1b[2J\\u202e" in ran.out
    assert not {"\x1b", "\u202e"} & {*ran.out}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("5",), "Two features are shown side by side"),
        (("5", "5"), "Two features are shown side by side"),
        (("5", "6", "7"), "Two features are shown side by side"),
        (("5", "77"), "has looked at both 5 and 77"),
        (("5", "8", "--features", "1"), "--features is about settings or runs"),
        (("5", "x"), "'x' is not one feature; write its number, as 121, or 8:121"),
        (("5", "44:9"), "44"),
    ],
)
def test_bad_input_is_one_sentence(interpret: Interpret, arguments: tuple[str, ...], sentence: str) -> None:
    write_log(Path("l.db"))
    ran = interpret("compare", *arguments, *LOG)
    assert (ran.status, sentence in " ".join(ran.err.split())) == (2, True), ran.err


def test_the_page_has_them_side_by_side_too() -> None:
    both("<b>\u202e")
    with RunLog.open(Path("l.db"), read_only=True) as log:
        browser = serving.client(log)
        found = browser.get("/compare/features?run=1&one=5&other=9")
        assert found.status_code == 200
        page = serving.Parsed(found.text)
        assert "dogs" in page.text
        assert {"/runs/1/features/5", "/runs/1/features/9"} <= {
            dict(one.attributes).get("href") for one in page.elements
        }
        assert "\u202e" not in found.text
        [shared] = [part for part in page.text.split("<p>") if "In the first token lists of both: " in part]
        assert "none" not in shared.rpartition("In the first token lists of both: ")[2]
        for query in ("run=1&one=5&other=77", "run=x&one=5&other=9", "run=1&one=5", "run=1&one=5&other=9:9"):
            assert browser.get(f"/compare/features?{query}").status_code in (404, 503)
        feature = browser.get("/runs/1/features/5").text
        assert 'action="/compare/features"' in feature
