"""Kills a run again and again and looks at what is left: no feature lost, none labelled twice, the database whole.

    python -m tests.bench.kill_run --features 0-499 --kills 20
    python -m tests.bench.kill_run --features 0-199 --kills 20 --hosted

With `--hosted` a server on the loopback interface answers by OpenAI's protocol, each time after a while; what it was
asked is compared with what the log says. Each kill is SIGKILL, at a random moment within two seconds of an invocation's
first label; then the same command is started again. After the last kill the run is left to finish.
"""

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 600

Question = tuple[int, int]
"""Feature and round."""


@dataclass(frozen=True)
class Aftermath:
    """The remains of a run that was killed and resumed."""

    kills: int
    labels: int
    features: int
    """Different ones among the labels."""
    repeated_calls: int
    """Questions that were asked again although their answer had been logged."""
    repeated_evidence: int
    lost_calls: int
    """That were on their way at a kill."""
    unlogged_requests: int
    """That the server saw and the log does not know."""
    integrity: str
    """SQLite's own word for it: ok."""
    status: str


@dataclass(frozen=True)
class Server:
    """A loopback server in a process of its own, which outlives the runs."""

    url: str
    history: Path

    def requests(self) -> Counter[Question]:
        """Returns how often each question reached it."""
        lines = self.history.read_text(encoding="utf-8").splitlines() if self.history.exists() else []
        return Counter((told["feature"], told["round"]) for told in map(json.loads, lines))

    def options(self) -> list[str]:
        """Returns what makes a run ask it."""
        return ["--llm", "openai:model-a", "--base-url", f"{self.url}/v1"]


@contextmanager
def serving(folder: Path, delay_s: float, tests: bool = False) -> Iterator[Server]:
    """A server that takes `delay_s` to answer, until the context ends; with `tests` it has texts run first."""
    history = folder / "history.jsonl"
    command = [sys.executable, "-m", "tests.llm_server", "--delay-s", str(delay_s), "--history", str(history)]
    command += ["--tests"] if tests else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip(), history)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def kill_and_resume(
    log: Path, command: Sequence[str], kills: int, seed: int, server: Server | None = None
) -> Aftermath:
    """Runs `command`, which writes `log` and asks `server`, kills it `kills` times and lets it finish."""
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
    return _examine(log, kills, server)


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


def _examine(log: Path, kills: int, server: Server | None) -> Aftermath:
    labels = _ask(log, "SELECT count(*), count(DISTINCT feature) FROM labels")[0]
    good = "SELECT min(id) FROM calls g WHERE g.answer IS NOT NULL AND " + " AND ".join(
        f"g.{column} = calls.{column}" for column in ("run_id", "feature", "round", "purpose", "item")
    )
    pieces = "SELECT count(*) n FROM evidence GROUP BY run_id, feature, round, item"
    rows = Counter[Question](_ask(log, "SELECT feature, round FROM calls"))
    return Aftermath(
        kills=kills,
        labels=labels[0],
        features=labels[1],
        repeated_calls=_ask(log, f"SELECT count(*) FROM calls WHERE id > ({good})")[0][0],
        repeated_evidence=_ask(log, f"SELECT count(*) FROM ({pieces}) WHERE n > 1")[0][0],
        lost_calls=_ask(log, "SELECT count(*) FROM calls WHERE fault = 'lost'")[0][0],
        unlogged_requests=(server.requests() - rows).total() if server else 0,
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
    parser.add_argument("--hosted", action="store_true")
    parser.add_argument("--delay-s", type=float, default=0.5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        log = folder / "killed.db"
        server = stack.enter_context(serving(folder, asked.delay_s)) if asked.hosted else None
        options = ["--cutoff", asked.cutoff, "--concurrency", "16", *(server.options() if server else [])]
        command = interpret_command(asked.features, log, *options)
        print(kill_and_resume(log, command, asked.kills, asked.seed, server))


if __name__ == "__main__":
    main()
