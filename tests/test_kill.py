"""A run that is killed goes on where it stopped (tests/bench/kill_run.py does the same at the size of a real run)."""

from dataclasses import replace
from pathlib import Path

from tests.bench.kill_run import Aftermath, interpret_command, kill_and_resume, serving

WHOLE = Aftermath(
    kills=2,
    labels=60,
    features=60,
    repeated_calls=0,
    repeated_evidence=0,
    lost_calls=0,
    unlogged_requests=0,
    integrity="ok",
    status="finished",
)


def test_a_killed_run_loses_and_repeats_nothing(tmp_path: Path) -> None:
    log = tmp_path / "killed.db"
    command = interpret_command("0-59", log, "--cutoff", "0.01", "--max-depth", "8", "--concurrency", "8")
    aftermath = kill_and_resume(log, command, kills=2, seed=1)
    assert replace(aftermath, lost_calls=0) == WHOLE


def test_a_killed_hosted_run_asks_again_only_what_was_on_its_way(tmp_path: Path) -> None:
    log = tmp_path / "killed.db"
    with serving(tmp_path, delay_s=0.3) as server:
        options = ["--cutoff", "0.01", "--max-depth", "8", "--concurrency", "8", *server.options()]
        aftermath = kill_and_resume(log, interpret_command("0-59", log, *options), kills=2, seed=1, server=server)
        assert replace(aftermath, lost_calls=0) == WHOLE
        assert server.requests().total() <= 60 + 30 + aftermath.lost_calls  # odd features have two rounds
