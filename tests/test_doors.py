"""Every failure behind a door becomes one sentence; our own errors and Ctrl-C pass."""

import subprocess
import sys

import pytest

from probes.doors import brief, door
from probes.errors import FeatureError, SubjectError


class Panic(BaseException):
    """As libraries written in Rust raise."""


@pytest.mark.parametrize(
    "failure", [ValueError("bad\nworse"), RecursionError("bad"), MemoryError("bad"), Panic("bad.")]
)
def test_whatever_fails_becomes_the_sentence_and_is_kept_as_the_cause(failure: BaseException) -> None:
    with (
        pytest.raises(SubjectError, match=r"^The model cannot be read: bad\.$") as told,
        door(SubjectError, "The model cannot be read: {cause}."),
    ):
        raise failure
    assert told.value.__cause__ is failure


@pytest.mark.parametrize("failure", [FeatureError("There is no feature 7."), KeyboardInterrupt()])
def test_our_own_errors_and_ctrl_c_pass(failure: BaseException) -> None:
    with pytest.raises(type(failure)) as told, door(SubjectError, "never"):
        raise failure
    assert told.value is failure


def test_a_cause_is_brief_and_never_empty() -> None:
    assert brief(KeyError()) == "KeyError"
    assert len(brief(ValueError("x" * 10_000))) < 300


def test_what_no_door_has_caught_is_one_sentence_and_its_traceback_only_on_demand(tmp_path) -> None:
    broken = "import agent.config as c, agent.cli.interpret as m\nm.logs.resolve = lambda *a: 1 / 0\nm.main({})"
    arguments = ["log", "--log", str(tmp_path / "no.db")]

    plain = subprocess.run([sys.executable, "-c", broken.format(arguments)], capture_output=True, text=True)
    debug = subprocess.run(
        [sys.executable, "-c", broken.format(["--debug", *arguments])], capture_output=True, text=True
    )

    assert plain.returncode == debug.returncode == 2
    assert "Traceback" not in plain.stderr
    assert len(plain.stderr.strip().splitlines()) == 1
    assert "ZeroDivisionError" in plain.stderr
    assert "--debug" in plain.stderr
    assert "Traceback" in debug.stderr


def test_a_cause_keeps_to_what_prints_and_to_what_follows_a_colon() -> None:
    assert (
        brief(ValueError("\n Validation error for field 'x':\n  it is 7.\nmore"))
        == "Validation error for field 'x': it is 7"
    )
    assert brief(ValueError("a\ud800b\x1b[31m")) == "a?b?[31m"
