"""A command that is killed and run again leaves the very rows of one that was not (tests/bench/kill_commands.py).

KILLS sets the moments at which each command is killed, 2 unless given.
"""

import os
import re
import subprocess
import sys

import pytest

from tests.bench.kill_commands import CASES

KILLS = int(os.environ.get("KILLS", "2"))


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """By command. A process of its own forks: this one may have threads."""
    command = [sys.executable, "-m", "tests.bench.kill_commands", "--kills", str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return {match[1]: match[0] for match in re.finditer(r"Outcome\(name='(\w+)'.*", done.stdout)}


@pytest.mark.timeout(0)  # as long as what KILLS asks for takes
@pytest.mark.parametrize("name", CASES)
def test_rows_are_those_of_an_undisturbed_run(outcomes: dict[str, str], name: str) -> None:
    assert f"kills={KILLS}," in outcomes[name]
    assert " unlike=0, " in outcomes[name]
