"""Any one value of a log damaged: every command that reads it and every page says so in a sentence, or does its work.

FUZZ sets how many damaged logs are tried, 60 unless given.
"""

import os
from contextlib import chdir
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.log.labels import labels_of
from agent.log.reviews import Review, add_review
from agent.log.run_log import RunLog
from tests.fault_runs import environment
from tests.log_fuzz import COMMANDS, PAGES, damage, damaged, shown, told

FUZZ = int(os.environ.get("FUZZ", "60"))
_QUICK = ("--cutoff", "0.1", "--max-depth", "3", "--prompt", "definition", "--rounds", "1")
_MADE: Path | None = None


@pytest.fixture(scope="module", autouse=True)
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a row of nearly every kind."""
    global _MADE
    folder = tmp_path_factory.mktemp("fuzz")
    _MADE = folder / "base.db"
    sides = ("--features", "11-13", *_QUICK)
    commands = (
        ("examples", "--features", "11-13", "--tokens", "10000"),
        (*sides,),
        (*sides, "--weights", "decoder"),
        ("score", "1"),
        ("score", "2"),
        ("compare", *sides[:-2], "--weights", "vocabulary,decoder"),
        ("taxonomy",),
    )
    with environment(), chdir(folder):
        for command in commands:
            with pytest.raises(SystemExit) as end:
                main([*command, "--log", str(_MADE)])
            assert end.value.code == 0, command
        with RunLog.open(_MADE, read_only=True) as log:
            for row in log.read(labels_of, 1):
                log.write_at_once(add_review, row.label_id, "ann", Review(verdict="accept"))
                log.write_at_once(
                    add_review, row.label_id, "bob", Review(verdict="edit", label="other words", note="a note")
                )
    return _MADE


@st.composite
def _cases(draw: st.DrawFn) -> tuple[tuple[str, int, str, object], tuple[str, ...]]:
    assert _MADE is not None
    asked = draw(st.sampled_from([*COMMANDS, *((page,) for page in PAGES)]))
    return draw(damage(_MADE)), asked


@pytest.mark.timeout(0)  # as long as what FUZZ asks for takes
@settings(
    max_examples=FUZZ,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(case=_cases())
def test_a_damaged_value_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[tuple[str, int, str, object], tuple[str, ...]]
) -> None:
    assert _MADE is not None
    change, asked = case
    folder = tmp_path_factory.mktemp("one")
    with environment(), chdir(folder):
        if damaged(_MADE, path := folder / "log.db", *change):
            wrong = shown(path, asked[0]) if asked[0].startswith("/") else told(path, asked)
            assert wrong is None, (change, asked, wrong)
