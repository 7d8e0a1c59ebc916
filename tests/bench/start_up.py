"""How long commands take to say a first word and to end: medians, wall and processor time, beside another checkout.

    python -m tests.bench.start_up [--repeats 10] [--before FOLDER]

Each command is a process of its own, its output a pipe; the first word is the first byte of either stream. Processor
time is the process's own until it ends, which the machine's other work hardly lengthens. FOLDER is a checkout to
compare with, as `git worktree add FOLDER COMMIT` makes it; both take turns.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.full_logs import fill

HERE = Path(__file__).parents[2]
COMMANDS: dict[str, Sequence[str]] = {
    "help": ("--help",),
    "log": ("log",),
    "show": ("show", "0"),
    "run": ("--features", "0", "--cutoff", "0.5", "--contrast", "off", "--dry-run"),
    "tokens": ("tokens", "0"),
}


@dataclass(frozen=True)
class Took:
    """One process, in seconds."""

    first: float
    end: float
    processor: float


def took(checkout: Path, folder: Path, arguments: Sequence[str]) -> Took:
    """Runs one command of that checkout."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "agent.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        first = time.perf_counter() - begun
        process.stdout.read()
    end = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(first, end, used)


def main() -> None:
    """Prints one line for each command and checkout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--commands", nargs="*", choices=COMMANDS, default=[*COMMANDS])
    asked = parser.parse_args()
    checkouts = {"before": asked.before.resolve(), "now": HERE} if asked.before else {"now": HERE}
    print(f"medians of {asked.repeats}, seconds; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'command':<10}{'checkout':<10}{'first word':>11}{'end':>8}{'processor':>11}")
    with TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / "interpret.db", [0])
        for command in asked.commands:
            found: dict[str, list[Took]] = {which: [] for which in checkouts}
            for _ in range(asked.repeats):
                for which, checkout in checkouts.items():
                    found[which].append(took(checkout, folder, COMMANDS[command]))
            for which, all_took in found.items():
                first, end, used = (
                    median(getattr(one, of) for one in all_took) for of in ("first", "end", "processor")
                )
                print(f"{command:<10}{which:<10}{first:>11.2f}{end:>8.2f}{used:>11.2f}", flush=True)


if __name__ == "__main__":
    main()
