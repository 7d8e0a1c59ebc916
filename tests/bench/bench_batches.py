"""How many features can wait for a batch at once: memory for each, and time from the last question to the batch.

    python -m tests.bench.bench_batches --features 0-1535 --cutoff 0.001

The command line labels features of the demo in batches against the loopback server, in a process of its own; `--wait 0`
leaves as soon as the batch is sent. Then the same command takes it up, and ends after the second round.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.batch_server import BatchServer
from tests.bench.kill_run import interpret_command


def _measured(command: list[str], *options: str) -> tuple[float, float]:
    """Seconds, and the most memory in MB that the process had."""
    started = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 1)
    return time.perf_counter() - started, usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1.024


def main() -> None:
    """Prints a line for each of the two invocations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default="0-1535")
    parser.add_argument("--cutoff", default="0.001")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, BatchServer() as server:
        asking = ["--llm", "openai:model-a", "--base-url", server.base_url("openai"), "--batch"]
        options = ["--cutoff", asked.cutoff, *asking]
        one = interpret_command("0", Path(name) / "one.db", *options)
        many = interpret_command(asked.features, Path(name) / "many.db", *options)
        _, least = _measured(one, "--wait", "0")
        seconds, most = _measured(many, "--wait", "0")
        n = len(server.batches[-1].requests)
        each = 1000 * (most - least) / n
        print(f"gathered   {n:,} questions in one batch after {seconds:.1f} s, {each:.0f} kB for each")
        seconds, most = _measured(many)
        n_all = sum(len(made.requests) for made in server.batches[1:])
        print(f"taken up   {n_all:,} questions in {len(server.batches) - 1} batches, {seconds:.1f} s, {most:.0f} MB")


if __name__ == "__main__":
    main()
