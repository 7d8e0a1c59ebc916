"""Features of a command over several SAEs are addressed as LAYER:INDEX wherever they are shown; of one SAE by index."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from agent.log.evidence import add_evidence, evidence_rows
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from agent.web.explore.keeping import keep
from tests import logged
from tests.fault_runs import commands
from tests.grouped_log import BESIDE, grouped_log
from tests.serving import OURS, Parsed, client

FEATURES = {3: (BESIDE, 5, 7), 9: (5, 8)}
PLACE = f"/runs/1/features/{BESIDE}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "log.db"
    grouped_log(found, FEATURES)
    return found


@pytest.fixture
def browser(path: Path) -> Iterator[TestClient]:
    with RunLog.open(path, read_only=True) as log:
        yield client(log)


def words(page: str) -> str:
    return " ".join(Parsed(page).text.split())


def links(page: str) -> list[str]:
    return [dict(one.attributes).get("href") or "" for one in Parsed(page).elements if one.name == "a"]


def test_the_table_of_labels_names_features_by_layer_and_leads_to_other_layers(browser: TestClient) -> None:
    page = browser.get("/runs/1/labels").text
    assert re.findall(r'features/\d+">(.+?)</a>', page) == ["3:4", "3:5", "3:7"]
    assert "of run 1, layer 3" in words(page)
    assert {"/runs/1/labels", "/runs/2/labels"} <= {*links(page)}
    assert "/runs/2" in links(browser.get("/runs/1").text)


def test_a_layers_run_that_labels_comes_before_one_that_explored(
    path: Path,
    own_folder: None,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = logged.card(layer=2, fingerprint="e" * 64)
    with RunLog.open(path) as log:
        run_id = log.begin_run(logged.identity(subject=other), [5]).run_id
        log.write(add_label, run_id, logged.outcome(5, label="whales")).result()
        log.write(add_evidence, evidence_rows(run_id, 5, 1, [logged.token_list(" whale")])).result()
    keep(path, other, 9, [logged.token_list(" teapot", feature=9)])
    with RunLog.open(path) as log:
        log.begin_run(logged.identity(subject=logged.card(layer=4, fingerprint="d" * 64)), [1])
    shown = commands(capsys)("show", "2:5", "--log", str(path))
    assert shown.status == 0, shown.err
    assert "whales" in shown.out


def test_an_address_in_the_search_box_leads_to_its_feature(browser: TestClient) -> None:
    page = browser.get("/runs/1/labels?search=9:8").text
    assert "Feature 9:8: dogs 8" in words(page)
    assert "/runs/2/features/8" in links(page)
    for search in ("9:4", "8:8", "8", "9:x", "9:" + "9" * 30):
        found = browser.get("/runs/1/labels", params={"search": search})
        assert found.status_code == 200
        assert "Feature" not in words(found.text), search


def test_a_features_page_names_it_and_others_by_layer(browser: TestClient) -> None:
    page = browser.get(PLACE).text
    text = words(page)
    assert "<title>3:4: dogs 4" in page
    assert "feature 3:4 ·" in text
    assert '<a href="/runs/1/features/7">3:7</a>' in page  # the neighbour that was asked for
    assert "and with feature 3:77 clamped equally far" in text
    assert "3:5 →" in text  # the next one
    assert '<span class="number">3:5</span>' in page  # by words that labels share
    assert 'data-feature="3:4"' in page
    assert "--features 3:4" in browser.get("/runs/2/features/8").text.replace("9:8", "3:4")
    call = re.search(rf"{PLACE}/calls/\d+", page)
    assert call
    assert "Feature 3:4" in words(browser.get(call[0]).text)
    assert "nothing on feature 3:9;" in words(browser.get("/runs/1/features/9").text)


def test_a_row_that_was_reviewed_keeps_its_address(browser: TestClient) -> None:
    answer = browser.post(f"{PLACE}/review", data={"verdict": "accept"}, headers={**OURS, "X-Part": "row"})
    assert ">3:4</a>" in answer.text


def test_two_features_of_a_group_are_shown_side_by_side(browser: TestClient) -> None:
    assert "feature 9:8" in words(browser.get("/compare/features?run=1&one=4&other=9:8").text)
    assert "nothing on feature 9:4;" in words(browser.get("/compare/features?run=1&one=4&other=9:4").text)
    assert browser.get("/compare/features?run=1&one=4&other=8:4").status_code == 404


def test_the_terminal_names_features_by_layer(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = commands(capsys)("show", "3:4", "--log", str(path))
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["feature", "3:4", "of", "tiny/3,", "blocks.3.hook_resid_post"] in lines
    assert any(line[:2] == ["3:7", "0.50"] for line in lines)
    assert "with feature 3:77 clamped equally far" in " ".join(shown.out.split())
    refused = commands(capsys)("show", "9:4", "--log", str(path))
    assert "has nothing on feature 9:4;" in " ".join(refused.err.split())


def test_features_of_one_sae_are_named_by_their_indices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "alone.db"
    grouped_log(path, {3: FEATURES[3]}, group=None)
    with RunLog.open(path, read_only=True) as log:
        browser = client(log)
        for place in ("/runs/1", "/runs/1/labels", "/runs/1/labels?search=3:5", PLACE, "/runs/1/features/9"):
            page = browser.get(place).text
            assert not re.search(r"\b3:\d", page.replace('value="3:5"', "").replace("search=3:5", "")), place
            assert 'aria-label="Layers"' not in page
    shown = commands(capsys)("show", "4", "--log", str(path)).out
    assert "feature      4 of tiny/3" in shown or "feature  4 of tiny/3" in re.sub(" +", "  ", shown)
    assert not re.search(r"\b3:\d", shown)
