"""A run that is killed goes on where it stopped (tests/bench/kill_run.py does the same at the size of a real run)."""

from pathlib import Path

from tests.bench.kill_run import Aftermath, interpret_command, kill_and_resume


def test_a_killed_run_loses_and_repeats_nothing(tmp_path: Path) -> None:
    log = tmp_path / "killed.db"
    command = interpret_command("0-149", log, "--cutoff", "0.01", "--max-depth", "8", "--concurrency", "8")
    assert kill_and_resume(log, command, kills=2, seed=1) == Aftermath(
        kills=2,
        labels=150,
        features=150,
        repeated_calls=0,
        repeated_evidence=0,
        integrity="ok",
        status="finished",
    )
