"""A log of many features at its true size: bytes a feature, and the time to resume it, to import it and to open pages.

    python -m tests.bench.bench_log [--features 16000] [--of 64] [--cutoff 0.005] [--hosted] [--no-import]

Labels `--of` features of the demo by rule, or with `--hosted` by a script behind a loopback server, whose prompts and
answers lie in the log as any model's; repeats the rows of that run until there are `--features` of them. Resuming is
what a command does before it can go on: open the log, begin the run, see what is done. The import is of the whole log
into an empty one. Pages are asked for as in bench_pages.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from agent.config import RunConfig
from agent.llm import make_explainer
from agent.llm.offline import Offline
from agent.log.rows import as_ranges
from agent.log.run_log import RunLog
from agent.run import run_features
from agent.run_spec import RunSpec
from probes.presets import SubjectSource
from probes.settings import TreeSettings
from probes.subject import load_subject
from tests.bench.bench_overhead import Silent
from tests.bench.bench_pages import tell_times
from tests.bench.knowing import script
from tests.fault_runs import environment
from tests.llm_server import LLMServer

_REPEATED = ("labels", "evidence", "calls")
"""Tables with a row or more for each feature of a run."""


def main() -> None:
    """Makes the log and prints what it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", default=16_000, type=int)
    parser.add_argument("--of", default=64, type=int)
    parser.add_argument("--cutoff", default=TreeSettings().cutoff, type=float)
    parser.add_argument("--hosted", action="store_true")
    parser.add_argument("--no-import", action="store_true", help="which takes half an hour for a million features")
    given = parser.parse_args()
    with environment(), LLMServer(script) as server, tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log.db"
        url = server.base_url("openai") if given.hosted else None
        spec = _spec(given.cutoff, url)
        with RunLog.open(path) as log:
            asyncio.run(run_features(spec, log, range(given.of), True, Silent()))
        n = repeat(path, given.of, given.features)
        tell_size(path, n)
        with _told("resumed"), RunLog.open(path) as log:
            row = log.begin_run(spec.identity, range(n))
            assert row.resumed
            assert not set(range(n)) - row.done
        tell_pages(path, n)
        if not given.no_import:
            with _told("imported"):
                RunLog.merge(Path(name) / "other.db", [path])


def _spec(cutoff: float, url: str | None) -> RunSpec:
    config = RunConfig.parse({"probe": {"tree": {"cutoff": cutoff}}})
    explainer = make_explainer("openai:model-a", url) if url else Offline()
    explainer.check()
    return RunSpec(config, load_subject(SubjectSource()), explainer)


def repeat(path: Path, of: int, n_features: int) -> int:
    """Repeats the run's rows, each time for the next features; returns how many features there are then."""
    times = -(-n_features // of)
    db = Database(path)
    db.execute("PRAGMA journal_mode=OFF")  # else a second copy lies in the write-ahead log until the end
    with db.conn:
        db.execute("DELETE FROM labels WHERE status = 'failed'")
        for table in _REPEATED:
            names = [column.name for column in db[table].columns if column.name != "id"]
            shifted = ", ".join(f"feature + {of} * ?" if name == "feature" else name for name in names)
            (last,) = db.execute(f"SELECT max(id) FROM {table}").fetchone()  # a scan by feature would be of all rows
            sql = f"INSERT INTO {table} ({', '.join(names)}) SELECT {shifted} FROM {table} WHERE id <= {last}"
            db.conn.executemany(sql, ([time] for time in range(1, times)))
        db.execute("UPDATE runs SET features = ?", [as_ranges(range(times * of))])
    db.execute("PRAGMA journal_mode=WAL")
    db.close()
    return times * of


def tell_size(path: Path, n_features: int) -> None:
    """Prints the bytes of a feature, and of its parts; an index counts with its table."""
    print(f"{n_features:,} features, {path.stat().st_size / n_features / 1000:.2f} kB each", end=": ")
    db = Database(path)
    tables = {row[0]: row[1] for row in db.execute("SELECT name, tbl_name FROM sqlite_schema").fetchall()}
    sizes: dict[str, int] = {}
    for name, size in db.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall():
        table = tables.get(name, name).removesuffix("_data").removesuffix("_docsize")
        sizes[table] = sizes.get(table, 0) + size
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    print(", ".join(f"{name} {size / n_features / 1000:.2f}" for name, size in largest), flush=True)
    db.close()


def tell_pages(path: Path, n_features: int) -> None:
    """Prints the time of each page."""
    middle = n_features // 2
    pages = {
        "runs": "/",
        "overview": "/runs/1",
        "table": "/runs/1/labels",
        "table, last page": f"/runs/1/labels?page={n_features // 100}",
        "table, by confidence": "/runs/1/labels?sort=-confidence",
        "table, search": "/runs/1/labels?search=river",
        "feature": f"/runs/1/features/{middle}",
    }
    tell_times(path, pages)


@contextmanager
def _told(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    print(f"{what} in {time.perf_counter() - begun:.1f} s", flush=True)


if __name__ == "__main__":
    main()
