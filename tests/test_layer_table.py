"""The layers of one command are compared: how much is labelled, how surely, on what lists, with which scores."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.groups import group_of
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.run_log import RunLog
from agent.log.runs import all_runs, chosen_run
from eval.layer_table import LayerTable, layer_table
from tests.fault_runs import commands
from tests.full_logs import fill
from tests.grouped_log import grouped_log, of_layer
from tests.logged import outcome, token_list
from tests.serving import Parsed, client

SURE = {1: 0.2, 2: 0.4, 3: 0.9, 5: 0.3}
P_VALUES = {1: 0.01, 2: 0.05, 3: 0.5}
"""Of first lists; feature 5's is compared with nothing."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Runs 1 and 2, of layers 3 and 9; the second has no scores, and abstains on one of its five features."""
    found = tmp_path / "log.db"
    grouped_log(found, {3: (5, 7)})
    outcomes = {n: outcome(n, confidence=sure) for n, sure in SURE.items()}
    outcomes[4] = outcome(4, status="abstained", label="", confidence=None, reason="noise")
    run_id = fill(found, outcomes, outcomes, who=of_layer(9), scored=False)
    with RunLog.open(found) as log:
        for feature, p in P_VALUES.items():
            listed = replace(token_list(" a", feature=feature), z=(1.0,), p_value=p, n_random=99)
            rows = [{**row, "item": 9} for row in evidence_rows(run_id, feature, 1, [listed])]
            log.write(add_evidence, rows).result()
    return found


@pytest.fixture
def table(path: Path) -> Iterator[LayerTable]:
    with RunLog.open(path, read_only=True) as log:
        yield layer_table(log, group_of(log.read(chosen_run, 1), log.read(all_runs)))


def test_each_layer_has_its_shares_its_median_and_its_score(table: LayerTable) -> None:
    three, nine = table.rows
    assert table.scorer == "detection"
    assert [(row.layer, row.run_id, row.labelled.n, row.labelled.value) for row in table.rows] == [
        (3, 1, 2, 1.0),
        (9, 2, 5, 0.8),
    ]
    assert (three.confidence, nine.confidence) == (0.7, pytest.approx(0.35))
    assert (three.differing.value, three.differing.n) == (None, 0)
    assert (nine.differing.value, nine.differing.n) == (pytest.approx(2 / 3), 3)
    assert nine.score is None
    assert three.score is not None
    assert three.score.value == pytest.approx(0.7)


def test_the_terminal_lists_layers_below_all_labels(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = commands(capsys)("log", "2", "--log", str(path)).out
    assert [line.split()[:3] for line in printed.splitlines()[-3:]] == [
        ["layer", "features", "labelled"],
        ["3", "2", "1.00"],
        ["9", "5", "0.80"],
    ]
    assert "median" not in commands(capsys)("log", "2", "--status", "labelled", "--log", str(path)).out


def test_the_overview_compares_layers_and_leads_to_them(path: Path, tmp_path: Path) -> None:
    with RunLog.open(path, read_only=True) as log:
        page = Parsed(client(log).get("/runs/2").text)
    text = " ".join(page.text.split())
    assert "Layer by layer" in text
    assert "9 5 0.80 [0.38, 0.96] 0.35 0.67 [0.21, 0.94] –" in text
    alone = tmp_path / "alone.db"
    grouped_log(alone, {3: (5, 7)}, group=None)
    with RunLog.open(alone, read_only=True) as log:
        assert "Layer by layer" not in client(log).get("/runs/1").text
