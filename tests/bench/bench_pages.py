"""Page times on a log of many labels: `python -m tests.bench.bench_pages [--labels 100000] [--log FILE]`.

Makes the log, with a comparison of 30 settings on 500 of its features, by bulk inserts unless FILE is there. Then asks
each page 50 times at the server, templates and guard included, the explore page with the demo's subject. Prints the
first, the median and the worst time, the median of what the processor spent (which other programs on the machine
disturb less) and the page's size. The first answer counts what is then kept.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from sqlite_utils import Database
from starlette.testclient import TestClient

from agent.log.evidence import evidence_rows, packed_row
from agent.log.rows import now
from agent.log.run_log import RunLog
from agent.log.runs import finish_run
from agent.web.server import make_app
from probes.presets import SubjectSource
from probes.settings import ProbeSettings
from probes.subject import Subject, load_subject
from tests.logged import grown_tree, identity, token_list

REQUESTS = 50
COMPARED = 500
"""Features of the comparison."""
_VARIANTS = ("label", "shuffled", "tokens")
_TOKEN = "bench"
_LABELS = """
    INSERT INTO labels (run_id, feature, label, explanation, confidence, status, rounds, reason, evidence, created)
    VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SCORES = """INSERT INTO scores
    (scoring_id, label_id, scorer, variant, part, label, metric, value, reason, low, high, n, extra, items, created)
    VALUES (1, ?, ?, ?, 'held_out', ?, 'auroc', ?, ?, ?, ?, 40, '{}', ?, ?)"""
_FITS = "INSERT INTO fits VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REVIEWS = "INSERT INTO reviews VALUES (NULL, ?, ?, ?, 'other words', NULL, 0, NULL, ?)"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.log or Path(folder) / "bench.db"
        if not path.exists():
            fill(path, asked.labels)
        measure(path, asked.labels)


def fill(path: Path, n_labels: int) -> None:
    """A run of labels with evidence, two scorers with controls, and reviews by two people."""
    begun = time.perf_counter()
    with RunLog.open(path) as log:
        log.begin_run(identity(), range(n_labels))
        log.write(finish_run, 1).result()
    dice = random.Random(0)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))) for _ in range(5000)]
    db = Database(path)
    with db.conn:
        db.execute("INSERT INTO corpora VALUES (1, 'x', 'tiny', 'f', 'bench', '{}', 1000, NULL, NULL, 0, ?)", [now()])
        settings = json.dumps({"scorers": ["detection", "embedding"]})
        db.execute("INSERT INTO scorings VALUES (1, 'x', 1, 1, 'offline', ?, ?)", [settings, now()])
        db.conn.executemany(_LABELS, (_label(feature, dice, words) for feature in range(n_labels)))
        db.conn.executemany(_SCORES, _scores(n_labels, dice))
        judged = [(label, who) for label in range(1, n_labels // 10) for who in ("ann", "bob")]
        verdicts = ("accept", "reject", "edit")
        db.conn.executemany(_REVIEWS, ((label, who, dice.choice(verdicts), now()) for label, who in judged))
        pieces = (grown_tree(400), token_list(*words[:100]))
        for row in (packed_row(db, row) for row in evidence_rows(1, 0, 1, pieces)):
            names = ", ".join(row)
            places = ", ".join("?" * len(row))
            values = [{**row, "feature": feature}.values() for feature in range(n_labels)]
            db.conn.executemany(f"INSERT INTO evidence ({names}) VALUES ({places})", map(list, values))
        _compare(db, min(n_labels, COMPARED), dice)
    db.close()
    size = path.stat().st_size / 1e9
    print(f"{n_labels:,} labels in {time.perf_counter() - begun:.0f} s, {size:.2f} GB")


def measure(path: Path, n_labels: int) -> None:
    """Asks each page."""
    some = n_labels // 2
    pages = {
        "runs": "/",
        "overview": "/runs/1",
        "progress": "/runs/1/progress",
        "table": "/runs/1/labels",
        "table, last page": f"/runs/1/labels?page={n_labels // 100}",
        "table, by confidence": "/runs/1/labels?sort=-confidence",
        "table, by score": "/runs/1/labels?sort=-score&score=1-detection",
        "table, by score, middle": f"/runs/1/labels?sort=-score&score=1-detection&page={n_labels // 200}",
        "table, score and status": "/runs/1/labels?score=1-embedding&min_score=0.7&status=labelled",
        "table, search": "/runs/1/labels?search=ba",
        "table, search, confidence": "/runs/1/labels?search=ba&min_confidence=0.5&sort=-confidence",
        "table, not judged": "/runs/1/labels?reviewed=no",
        "table, accepted": "/runs/1/labels?reviewed=accept",
        "feature": f"/runs/1/features/{some}",
        "feature, of a filter": f"/runs/1/features/{some}?sort=-score&score=1-detection&reviewed=no",
    }
    compared = {
        "compare": "/compare",
        "compare, a measure": "/compare?measure=tree&features=all",
        "compare, another pair": "/compare?across=3&up=17&sort=difference",
        "compare, a feature": f"/compare/1/features/{min(n_labels, COMPARED) // 2}?across=3&up=17",
        "explore": "/explore",
        "explore, about a feature": "/explore/about?feature=38",
        "explore, what was shown": "/explore/evidence?feature=38",
    }
    tell_times(path, pages | compared, load_subject(SubjectSource()))


def tell_times(path: Path, pages: Mapping[str, str], subject: Subject | None = None) -> None:
    """Prints the times of a log's pages, which are given by name."""
    print(f"{'page':<28}{'first ms':>10}{'median ms':>10}{'worst ms':>10}{'cpu ms':>10}{'kB':>8}")
    with RunLog.open(path, read_only=True) as log:
        client = TestClient(make_app(log, _TOKEN, subject=subject), base_url="http://127.0.0.1")
        client.get(f"/?token={_TOKEN}")
        for name, address in pages.items():
            first, *rest = [_timed(client, address) for _ in range(REQUESTS + 1)]
            median, worst = statistics.median(one.ms for one in rest), max(one.ms for one in rest)
            cpu = statistics.median(one.cpu_ms for one in rest)
            size = first.n_bytes / 1000
            print(f"{name:<28}{first.ms:>10.1f}{median:>10.1f}{worst:>10.1f}{cpu:>10.1f}{size:>8.1f}", flush=True)


@dataclass(frozen=True)
class _Timed:
    ms: float
    cpu_ms: float
    n_bytes: int


def _timed(client: TestClient, address: str) -> _Timed:
    begun, cpu = time.perf_counter(), time.process_time()
    answer = client.get(address)
    took, spent = time.perf_counter() - begun, time.process_time() - cpu
    answer.raise_for_status()
    return _Timed(took * 1000, spent * 1000, len(answer.content))


def _label(feature: int, dice: random.Random, words: list[str]) -> tuple[object, ...]:
    status = dice.choices(("labelled", "abstained", "failed"), (80, 19, 1))[0]
    label = " ".join(dice.choices(words, k=3)) if status == "labelled" else ""
    explanation = " ".join(dice.choices(words, k=30))
    reason = "" if label else f"the tree is {dice.choice(('flat', 'noise', 'empty'))}"
    confidence = round(dice.random(), 2) if label else None
    return feature, label, explanation, confidence, status, 1, reason, '["E1.1"]', now()


def _compare(db: Database, n_features: int, dice: random.Random) -> None:
    """Fits of every setting to a feature's own texts and to those of three others."""
    identity = ["{}", now()]
    db.execute("INSERT INTO comparisons VALUES (1, 1, 1, ?, ?)", identity)
    for place, setting in enumerate(_settings(), start=1):
        text = json.dumps(setting.model_dump(mode="json"), sort_keys=True)
        db.execute("INSERT INTO compared VALUES (?, 1, ?, ?)", [place, text, now()])
        db.conn.executemany(_FITS, _fits(place, n_features, dice))


def _settings() -> Iterator[ProbeSettings]:
    weights, scales = ("encoder", "decoder", "blend:0.5"), (0.5, 0.7, 1.0, 1.4, "auto")
    for weight, scale, pca in product(weights, scales, ((), (0.1,))):
        yield ProbeSettings.parse({"vector": {"weights": weight, "scale": scale, "pca": pca}})


def _fits(compared_id: int, n_features: int, dice: random.Random) -> Iterator[tuple[object, ...]]:
    for feature in range(n_features):
        for measure in ("list", "tree"):
            for texts_of in range(feature, feature + 4):
                value = min(max(dice.gauss(0.7 if texts_of == feature else 0.5, 0.15), 0), 1)
                yield compared_id, feature, measure, texts_of, value, None, value - 0.1, value + 0.1, 40


def _scores(n_labels: int, dice: random.Random) -> Iterator[tuple[object, ...]]:
    items = json.dumps([{"text": "x" * 20, "truth": True, "said": 0.5}] * 10)
    for label_id in range(1, n_labels + 1):
        for scorer in ("detection", "embedding"):
            for variant in _VARIANTS:
                value = min(max(dice.gauss(0.7 if variant == "label" else 0.5, 0.15), 0), 1)
                yield label_id, scorer, variant, "words", value, None, value - 0.1, value + 0.1, items, now()


if __name__ == "__main__":
    main()
