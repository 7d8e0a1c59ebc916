"""A log in Datasette or another browser of SQLite: rows have titles, and views put together what belongs together."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.log.comparisons import ComparisonIdentity, FitRow, add_fits, begin_comparison
from agent.log.opening import open_readable
from agent.log.run_log import RunLog
from agent.log.schema import references, tables
from probes.settings import ProbeSettings, VectorSettings
from tests.full_logs import fill
from tests.logged import RULES, outcome


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two features with all that hangs on them, and one setting compared on them."""
    path = tmp_path / "log.db"
    abstained = outcome(5, status="abstained", label="", explanation="", confidence=None, reason="unclear")
    run_id = fill(path, [3, 5], {5: abstained})
    with RunLog.open(path) as log:
        id = log.write(begin_comparison, ComparisonIdentity(run_id=run_id, corpus_id=1, settings={})).result()
        setting = ProbeSettings(vector=VectorSettings(weights="decoder", scale=2.5, pca=(0.1,), centroid=False))
        own = [
            FitRow(feature, "list", feature, value, None, None, None, 20) for feature, value in ((3, 0.75), (5, 0.5))
        ]
        others = [FitRow(3, "list", 5, 0.25, None, None, None, 20), FitRow(5, "list", 3, None, "none", None, None, 0)]
        log.write(add_fits, id, setting, [*own, *others]).result()
    return path


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def test_whatever_is_referred_to_has_a_title_in_words(path: Path) -> None:
    """Datasette takes a column `name` or `title` for that, as told by PRAGMA table_xinfo."""
    with closing(open_readable(path)) as db:
        referred = {to for table in tables() for to in references(db, table).values()} - {"reviews"}
        titles = {
            table: [title for (title,) in db.execute(f"SELECT title FROM {table} ORDER BY id")] for table in referred
        }
    assert titles["labels"] == ["3: dogs 3", "5: (abstained)"]
    assert titles["compared"] == ["decoder, scale 2.5, no centroid, pca [0.1], prompt auto, exponent 1.4"]
    assert titles["runs"][0].startswith(f"tiny, {RULES}, 20")
    assert titles["corpora"][0].startswith("demo, tiny, 20")
    assert titles["scorings"][0].startswith("fake:queue, 20")
    assert titles["comparisons"][0].startswith("of run 1, 20")
    assert titles["texts"][0]


def test_labels_stand_beside_their_scores_and_controls(path: Path) -> None:
    found = asked(path, "SELECT feature, label, judge, scorer, value, shuffled, above_shuffled, n FROM labels_scored")
    assert found == [
        (3, "dogs 3", "fake:queue", "detection", 0.7, 0.5, pytest.approx(0.2), 20),
        (5, "", "fake:queue", "detection", 0.7, 0.5, pytest.approx(0.2), 20),
    ]


def test_calls_are_summed_up(path: Path) -> None:
    each = asked(path, "SELECT run_id, feature, purpose, model, fault FROM calls_costed")
    assert each == [(1, 3, "explain", "rules-1", None), (1, 5, "explain", "rules-1", None)]
    (summed,) = asked(path, "SELECT run_id, purpose, calls, cost_usd, of_unknown_cost, failed FROM costs_by_run")
    assert summed == (1, "explain", 2, None, 2, 0)


def test_settings_have_their_mean_fit(path: Path) -> None:
    found = asked(path, "SELECT setting, measure, mean, features, on_others_texts FROM fits_by_setting")
    assert [row[1:] for row in found] == [("list", 0.625, 2, 0.25)]
    assert found[0][0].startswith("decoder, scale 2.5")
