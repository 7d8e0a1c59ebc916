"""Kills a run again and again and looks at what is left: no feature lost, none labelled twice, the database whole.

    python -m tests.bench.kill_run --features 0-499 --kills 20

Each kill is SIGKILL, at a random moment within two seconds of an invocation's first label; then the same command is
started again. After the last kill the run is left to finish.
"""

import argparse
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 600


@dataclass(frozen=True)
class Aftermath:
    """What a run left that was killed and resumed."""

    kills: int
    labels: int
    features: int
    """Different ones among the labels."""
    repeated_calls: int
    """Questions that were asked again although their answer had been logged."""
    repeated_evidence: int
    integrity: str
    """SQLite's own word for it: ok."""
    status: str


def kill_and_resume(log: Path, command: Sequence[str], kills: int, seed: int) -> Aftermath:
    """Runs `command`, which writes `log`, kills it `kills` times and lets it finish."""
    chance = random.Random(seed)
    done = 0
    while done < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_progress(process, log, _labels(log))
        time.sleep(chance.uniform(0, 2))
        if process.poll() is not None:
            raise RuntimeError(f"The run was over after {done} kills; give it more features.")
        process.send_signal(signal.SIGKILL)
        process.wait()
        done += 1
        print(f"kill {done}: {_labels(log)} labels in the log", flush=True)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, timeout=DEADLINE_S)
    return _examine(log, kills)


def _wait_for_progress(process: subprocess.Popen[bytes], log: Path, before: int) -> None:
    """Until there is a new label, so that every kill falls into the work and not into the imports."""
    deadline = time.monotonic() + DEADLINE_S
    while _labels(log) <= before and process.poll() is None:
        if time.monotonic() > deadline:
            raise RuntimeError("The run makes no progress.")
        time.sleep(0.02)


def _labels(log: Path) -> int:
    if not log.exists():
        return 0
    try:
        return int(_ask(log, "SELECT count(*) FROM labels")[0][0])
    except sqlite3.OperationalError:  # the tables are just being made
        return 0


def _examine(log: Path, kills: int) -> Aftermath:
    labels = _ask(log, "SELECT count(*), count(DISTINCT feature) FROM labels")[0]
    good = "SELECT count(*) n FROM calls WHERE error IS NULL GROUP BY run_id, feature, round, purpose, item"
    pieces = "SELECT count(*) n FROM evidence GROUP BY run_id, feature, round, item"
    return Aftermath(
        kills=kills,
        labels=labels[0],
        features=labels[1],
        repeated_calls=_ask(log, f"SELECT count(*) FROM ({good}) WHERE n > 1")[0][0],
        repeated_evidence=_ask(log, f"SELECT count(*) FROM ({pieces}) WHERE n > 1")[0][0],
        integrity=_ask(log, "PRAGMA integrity_check")[0][0],
        status=_ask(log, "SELECT group_concat(DISTINCT status) FROM runs")[0][0],
    )


def _ask(log: Path, query: str) -> list[tuple]:
    connection = sqlite3.connect(log, timeout=30)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def interpret_command(features: str, log: Path, *options: str) -> list[str]:
    """The command of a demo run."""
    return [sys.executable, "-m", "agent.cli", "--features", features, "--log", str(log), *options]


def main() -> None:
    """Prints what was left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default="0-499")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--cutoff", default="0.002")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "killed.db"
        command = interpret_command(asked.features, log, "--cutoff", asked.cutoff, "--concurrency", "16")
        print(kill_and_resume(log, command, asked.kills, asked.seed))


if __name__ == "__main__":
    main()
