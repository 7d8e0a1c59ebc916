"""`interpret review`: labels judged by keys in a terminal."""

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from agent.cli import main
from agent.log.labels import labels_of
from agent.log.reviews import reviews_of, verdicts_of
from agent.log.run_log import RunLog
from tests.grouped_log import grouped_log
from tests.serving import scored_log

Typed = Callable[..., str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "log.db"
    scored_log(found, n_labels=12).close()
    return found


@pytest.fixture
def typed(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs the command with these keys and lines typed; what it printed."""

    def run(
        letters: str,
        *options: str,
        lines: tuple[str, ...] = (),
        reviewer: str = "ann",
        keys: Callable[[], str] | None = None,
    ) -> str:
        pressed, told = iter(letters), iter(lines)
        monkeypatch.setattr(click, "getchar", keys or (lambda: next(pressed)))
        monkeypatch.setattr(click, "prompt", lambda *_, **__: next(told))
        with pytest.raises(SystemExit) as ended:
            main(["review", "--log", str(path), "--reviewer", reviewer, *options])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def log(path: Path) -> Iterator[RunLog]:
    with RunLog.open(path, read_only=True) as found:
        yield found


def _said(log: RunLog) -> list[tuple[str, str | None, str | None, bool]]:
    rows = [review for row in log.read(labels_of, 1) for review in log.read(reviews_of, [row.label_id])]
    return [(review.verdict, review.label, review.note, review.undone) for review in rows]


def test_keys_judge_one_label_after_the_other(log: RunLog, typed: Typed) -> None:
    out = typed("arefnq", lines=("better words", "a note"))
    labels = [row for row in log.read(labels_of, 1) if row.status != "failed"]
    assert _said(log) == [
        ("accept", None, None, False),
        ("reject", None, None, False),
        ("edit", "better words", None, False),
        ("flag", None, None, False),
        ("note", None, "a note", False),
    ]
    assert [len(log.read(reviews_of, [row.label_id])) for row in labels[:4]] == [1, 1, 1, 2]
    assert "5 reviews kept as ann." in out


def test_keys_that_are_pressed_fast_all_count_and_the_end_of_input_ends_it(log: RunLog, typed: Typed) -> None:
    def pressed() -> str:
        if not bursts:
            raise EOFError
        return bursts.pop(0)

    bursts = ["ar", "\x1b[A"]
    typed("", keys=pressed)
    assert [verdict for verdict, *_ in _said(log)] == ["accept", "reject"]


def test_what_is_judged_does_not_come_again_unless_asked_for(log: RunLog, typed: Typed) -> None:
    labels = [row for row in log.read(labels_of, 1) if row.status != "failed"]
    typed("a" * len(labels))
    assert len(_said(log)) == len(labels)
    assert "has judged every label" in typed("")
    assert f"{labels[0].feature}, 1 of {len(labels)}" in typed("q", "--again")
    assert f"{labels[0].feature}, 1 of {len(labels)}" in typed("q", reviewer="bob")


def test_labels_of_all_layers_are_judged_in_one_session(path: Path, typed: Typed) -> None:
    path.unlink()
    grouped_log(path, {3: (4, 5), 9: (5,)})
    out = " ".join(typed("aq").split())
    assert "3:4, 1 of 3" in out
    assert "3:5, 2 of 3" in out
    out = " ".join(typed("ar", "2").split())  # any of the runs' numbers names all of them
    assert "3:5, 1 of 2" in out
    assert "9:5, 2 of 2" in out
    assert "has judged every label of runs 1-2;" in typed("")
    with RunLog.open(path, read_only=True) as log:
        verdicts = [log.read(verdicts_of, run_id)["ann"] for run_id in (1, 2)]
    assert [[*some.values()] for some in verdicts] == [["accept", "accept"], ["reject"]]


def test_back_and_undo_take_a_verdict_back_and_unknown_keys_tell_the_known_ones(log: RunLog, typed: Typed) -> None:
    out = typed("akuujkx?q")
    assert [undone for *_, undone in _said(log)] == [True]
    assert out.count("Undone.") == out.count("You have no review of this label to undo") == 1
    assert out.count("a accept") == 5 + 2


def test_a_line_left_empty_or_too_long_keeps_nothing(log: RunLog, typed: Typed) -> None:
    out = typed("eenq", lines=("", "x" * 300, " "))
    assert not _said(log)
    assert "200 characters" in " ".join(out.split())


def test_scores_and_confidence_are_hidden_when_blind(typed: Typed) -> None:
    seen = typed("jjjjq")
    assert "confidence" in seen
    assert "detection" in seen
    blind = typed("jjjjq", "--blind")
    assert "confidence" not in blind
    assert "detection" not in blind
    assert "explanation" in blind


def test_without_a_terminal_there_is_one_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def closed() -> str:
        raise OSError(6, "No such device or address")

    monkeypatch.setattr(click, "getchar", closed)
    with pytest.raises(SystemExit) as ended:
        main(["review", "--log", str(path)])
    assert ended.value.code == 2
    assert "run it in a terminal" in capsys.readouterr().err
