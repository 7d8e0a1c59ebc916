"""Kills each command that writes to a log at moments over its whole length, runs it again, and compares what is left.

    python -m tests.bench.kill_commands --kills 20
    python -m tests.bench.kill_commands --kills 20 --commands examples,compare

What a log holds after a command that was killed (SIGKILL) and run again must be, row for row, what an undisturbed one
leaves: all tables but `invocations`, which has a row for each time that a command began, and all columns but a row's
own number and times. Of files that a command writes, the content counts. Everything is loaded once; each run is a
process forked from that one, so that a kill falls into the command's work and not into imports. Half of the moments lie
evenly over the command's time, the other half evenly over its writes: as one of them begins or a little later.
"""

import argparse
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import chdir, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file
from sqlite_utils import Database

from agent.cli import main as interpret
from agent.log.schema import columns, tables
from probes.presets import SubjectSource
from probes.subject import load_subject
from tests.fault_runs import environment

ADAPTER = "a.safetensors"
LOG, OTHER = Path("log.db"), Path("other.db")
_UNLIKE = {"id", "created", "started", "finished"}
_QUICK = ("--cutoff", "0.05", "--max-depth", "6", "--prompt", "definition")
_FEATURES = "11-16"
_TEXTS = ("examples", "--features", _FEATURES, "--tokens", "30000", "--log", str(LOG))
_RUN = ("run", "--features", _FEATURES, *_QUICK, "--rounds", "1", "--log", str(LOG))
_COMPARE = ("compare", "--features", _FEATURES, *_QUICK, "--weights", "vocabulary,decoder", "--log", str(LOG))

Rows = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Case:
    """A command, and what must have been done before it."""

    before: Sequence[Sequence[str]]
    command: Sequence[str]
    file: str | None = None
    """That it writes beside the log."""


CASES: Mapping[str, Case] = {
    "examples": Case((), _TEXTS),
    "score": Case((_TEXTS, _RUN), ("score", "--scorers", "embedding", "--log", str(LOG))),
    "compare": Case((_TEXTS,), _COMPARE),
    "import": Case(
        ((*_RUN[:2], "20-22", *_RUN[3:]),), ("import", str(OTHER), "--log", str(LOG))
    ),  # into a part of the run that the other log has
    "export": Case((_TEXTS, _RUN), ("export", "--to", "labels.jsonl", "--log", str(LOG)), "labels.jsonl"),
    "taxonomy": Case((_TEXTS, _COMPARE), ("taxonomy", "--log", str(LOG))),
    "fit": Case(
        (),
        ("fit", "--labels", "demo-known", "--steps", "3", "--to", "a.safetensors", "--log", str(LOG)),
        "a.safetensors",
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one command."""

    name: str
    kills: int
    partway: int
    """Kills after which the log or the file was neither as before the command nor as after it."""
    unlike: int
    """Moments after which the rows, or the file, are not those of an undisturbed run."""
    rows: int
    seconds: float
    """That an undisturbed run takes."""


def trial(name: str, folder: Path, kills: int, seed: int = 0) -> Outcome:
    """Runs a command undisturbed, then kills it at so many moments and runs it again, each from the same beginning."""
    case, chance = CASES[name], random.Random(seed)
    base = folder / "base"
    _prepare(case, base, name)
    whole, seconds, writes = _undisturbed(case, base, folder / "whole")
    start = state(base, case)
    partway = unlike = 0
    for number in range(kills):
        place = _copied(base, folder / f"kill{number}")
        share = (number + chance.random()) / kills
        if number % 2:
            _run(case.command, place, after_s=share * seconds)
        else:
            _run(case.command, place, after_s=chance.choice((0.0, 0.001, 0.01)), after_writes=round(share * writes))
        left = state(place, case)
        partway += left not in (start, whole)
        _run(case.command, place)
        unlike += state(place, case) != whole
        shutil.rmtree(place)
    return Outcome(name, kills, partway, unlike, sum(map(len, whole[0].values())), seconds)


def state(place: Path, case: Case) -> tuple[Rows, object]:
    """Returns what a log holds, and the file beside it."""
    file = place / case.file if case.file else None
    return rows_of(place / LOG), content(file) if file and file.exists() else None


def rows_of(path: Path) -> Rows:
    """Every row of every table that holds any, less numbers and times; examples with their place in their feature."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path)) as connection:
        db = Database(connection)
        found = {
            table: [*db.query(f"SELECT {', '.join(columns(db, table))} FROM {table} ORDER BY rowid")]
            for table in tables()
            if table != "invocations"
        }
    places: dict[object, int] = {}
    for row in found.get("examples", ()):
        row["place"] = places[row["corpus_id"], row["feature"]] = places.get((row["corpus_id"], row["feature"]), 0) + 1
    kept = {
        table: sorted(repr({name: cell for name, cell in row.items() if name not in _UNLIKE}) for row in rows)
        for table, rows in found.items()
    }
    return {table: rows for table, rows in kept.items() if rows}


def content(path: Path) -> object:
    """The content of a file, less times."""
    if path.suffix == ".safetensors":
        try:
            return {name: array.tolist() for name, array in load_file(path).items()}
        except Exception as error:
            return f"damaged: {error}"
    return re.sub(rb'"created": ?"[^"]*"', b"", path.read_bytes())


def _prepare(case: Case, base: Path, name: str) -> None:
    base.mkdir(parents=True)
    if name == "import":
        for command in (_TEXTS, _RUN, ("score", "--log", str(LOG))):
            _run(command, base)
        (base / LOG).rename(base / OTHER)
    for command in case.before:
        _run(command, base)


def _undisturbed(case: Case, base: Path, place: Path) -> tuple[tuple[Rows, object], float, int]:
    """Returns what is left, how long it took, and how many writes were seen."""
    _copied(base, place)
    started = time.monotonic()
    writes = _run(case.command, place, after_writes=sys.maxsize)
    return state(place, case), time.monotonic() - started, writes


def _copied(base: Path, place: Path) -> Path:
    shutil.copytree(base, place)
    return place


def _run(command: Sequence[str], place: Path, after_s: float | None = None, after_writes: int = 0) -> int:
    """Runs a command in a forked process, to its end, or kills it so long after so many writes; how many were seen."""
    child = os.fork()
    if not child:
        _become(command, place)
    seen = _writes(child, place, after_writes) if after_writes else 0
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    taken = command[0] == "fit" and code == 2  # it was written whole before the kill, and is not replaced
    if after_s is None and code != 0 and not taken:
        raise RuntimeError(f"{' '.join(command)} ended with status {code}: {(place / 'out').read_text()[-500:]}")
    return seen


def _writes(child: int, place: Path, most: int) -> int:
    """Waits until the files have changed so often, or the process is over."""
    seen, before = 0, _times(place)
    while seen < most and os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        now = _times(place)
        seen += now != before
        before = now
        time.sleep(0.0005)
    return seen


def _times(place: Path) -> list[tuple[str, int]]:
    """Returns when each file but the command's output was written last."""
    found = []
    for entry in os.scandir(place):
        with suppress(OSError):  # gone again
            if entry.name != "out":
                found.append((entry.name, entry.stat().st_mtime_ns))
    return sorted(found)


def _become(command: Sequence[str], place: Path) -> None:
    """Does the command's work in this process, and ends it."""
    code = 70
    try:
        with (place / "out").open("w", encoding="utf-8") as out, chdir(place), environment():
            os.dup2(out.fileno(), 1)
            os.dup2(out.fileno(), 2)
            try:
                interpret(command)
            except SystemExit as end:
                code = int(end.code or 0)
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Prints what came of each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--commands", default=",".join(CASES))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    load_subject(SubjectSource())  # with all that it imports; a forked process finds it there
    with tempfile.TemporaryDirectory() as name:
        for command in asked.commands.split(","):
            print(trial(command, Path(name) / command, asked.kills, asked.seed), flush=True)


if __name__ == "__main__":
    main()
