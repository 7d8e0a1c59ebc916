"""Where output cannot go, a command says so once, loses nothing else, and no run ends for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.streams import Outlet
from agent.log.run_log import RunLog
from agent.log.runs import all_runs
from tests.full_logs import fill

LOST = "interpret: The output could not be written: "
ROOT = Path(__file__).parent.parent


def shell(command: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`command` in bash, in which `$I` is the program."""
    program = f"{sys.executable} -m agent.cli"
    return subprocess.run(
        ["bash", "-c", command, "bash", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "I": program},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "run.db", range(200))
    return tmp_path


@pytest.mark.parametrize(
    ("command", "status", "err"),
    [
        ("$I log 1 --log run.db >&-", 2, f"{LOST}Bad file descriptor.\n"),
        ("$I log 1 --log run.db >/dev/full", 2, f"{LOST}No space left on device.\n"),
        ("$I log --log run.db --json >/dev/full", 2, f"{LOST}No space left on device.\n"),
        ("$I --help >/dev/full", 2, f"{LOST}No space left on device.\n"),
        ("$I log 1 --log run.db | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("$I log 99 --log run.db 2>&-", 2, ""),
        ("$I log 99 --log run.db 2>/dev/full", 2, ""),
        ("$I log 1 --log run.db >&- 2>&- <&-", 2, ""),
    ],
)
def test_output_that_goes_nowhere_is_one_sentence_or_silence(folder: Path, command: str, status: int, err: str) -> None:
    ran = shell(command, folder=folder)
    assert (ran.returncode, ran.stderr) == (status, err)


def test_errors_that_go_nowhere_do_not_go_to_the_output(folder: Path) -> None:
    assert shell("$I log 99 --log run.db 2>&-", folder=folder).stdout == ""


def test_a_run_whose_reader_and_terminal_have_gone_is_finished_and_its_log_whole(tmp_path: Path) -> None:
    small = "--cutoff 0.5 --contrast off --rounds 1"
    ran = shell(f"$I --features 0-3 {small} --log run.db 2>&- | true; exit ${{PIPESTATUS[0]}}", folder=tmp_path)
    assert ran.returncode == 141
    closed = shell(f"$I --features 0-5 {small} --log run.db >&- 2>&- <&-", folder=tmp_path)
    assert closed.returncode == 2
    with RunLog.open(tmp_path / "run.db", read_only=True) as log:
        assert [(run.status, run.n_asked) for run in log.read(all_runs)] == [("finished", 6)]


def test_an_outlet_takes_all_after_its_first_failure_and_tells_it() -> None:
    reading, writing = os.pipe()
    outlet = Outlet(writing)
    assert outlet.write(b"abc") == 3
    assert os.read(reading, 10) == b"abc"
    os.close(reading)
    assert outlet.write(b"abcd") == 4
    assert outlet.failure is not None
    failure = outlet.failure
    os.close(writing)
    assert (outlet.write(b"abcde"), outlet.failure, outlet.isatty()) == (5, failure, False)
