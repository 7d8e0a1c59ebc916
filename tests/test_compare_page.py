"""The comparison page: every feature a point that opens it, settings by name, hostile texts as texts."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.comparisons import ComparisonIdentity, FitRow
from agent.runlog import RunLog
from eval.compare.measures import REPORTED
from eval.review.compare_figures import MOST_POINTS, figures
from probes.settings import ProbeSettings, TreeSettings, VectorSettings
from tests import logged
from tests.serving import Parsed, client
from tests.trees import NASTY

SCALES = (1.0, 2.0, 3.8)
SETTINGS = [ProbeSettings(vector=VectorSettings(weights=w, scale=s)) for w in ("encoder", "decoder") for s in SCALES]
N = 30


def fits(place: int, n: int = N) -> list[FitRow]:
    """Feature f has the value (f + place) / 100 by list and tree, and 0.1 on others' texts."""
    own = [FitRow(f, m, f, (f + place) / 100, None, 0.0, 1.0, 9) for f in range(n) for m in ("list", "tree")]
    others = [FitRow(f, m, f + n, 0.1, None, None, None, 9) for f in range(n) for m in ("list", "tree")]
    contrast = "the tree was grown without a contrast"
    return [*own, *others, *(FitRow(f, "readout", f, None, contrast, None, None, 0) for f in range(n))]


def compared(log: RunLog, settings: list[ProbeSettings] = SETTINGS, n: int = N) -> int:
    """A comparison; the number of its run."""
    run_id = log.begin_run(logged.identity(explainer="compare"), range(n)).run_id
    corpus_id = log.begin_corpus(logged.corpus_identity())
    id = log.comparisons.begin(ComparisonIdentity(run_id=run_id, corpus_id=corpus_id, settings={}))
    for place, setting in enumerate(settings):
        log.comparisons.add_fits(id, setting, fits(place, n))
    return run_id


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    with RunLog.open(tmp_path / "log.db") as log:
        yield log


def test_every_feature_is_a_point_that_opens_it_and_the_verdict_stands_above(log: RunLog) -> None:
    run_id = compared(log)
    answer = client(log).get("/compare?measure=fit&across=0&up=1")
    assert answer.status_code == 200
    links = re.findall(rf'href="/runs/{run_id}/features/(\d+)" tabindex="-1"', answer.text)
    assert sorted(map(int, links)) == [*range(N)]
    assert "encoder, scale 2 beats encoder, scale 1 on 100% of 30 features" in " ".join(answer.text.split())
    assert re.search(r"higher by \.010 \[\.010, \.010\]", answer.text)


def test_points_stand_where_their_values_do(log: RunLog) -> None:
    compared(log)
    drawn = figures(log, 1, 0, 1, "list").scatter
    assert drawn is not None
    assert (drawn.low, drawn.high, drawn.n) == (0.0, 0.30, N)
    first, last = drawn.points[0], drawn.points[-1]
    assert (first.cx, round(400 - first.cy, 1)) == (0.0, 13.3)
    assert (last.cx, round(400 - last.cy, 1)) == (386.7, 400.0)
    assert len(drawn.furthest) == 16


def test_three_scales_or_more_are_a_curve_for_each_side_and_two_are_none(log: RunLog) -> None:
    compared(log)
    found = figures(log, 1, 0, 1, "fit")
    assert [curve.name for curve in found.curves] == ["encoder", "decoder"]
    assert found.scales == (1.0, 3.8)
    assert [len(curve.dots) for curve in found.curves] == [3, 3]
    assert "<polyline" in client(log).get("/compare").text


def test_two_scales_are_no_curve(log: RunLog) -> None:
    compared(log, SETTINGS[:2])
    assert figures(log, 1, 0, 1, "fit").curves == ()
    assert "<polyline" not in client(log).get("/compare").text


@pytest.mark.parametrize("measure", REPORTED)
def test_every_measure_has_its_page_measured_or_not(log: RunLog, measure: str) -> None:
    compared(log)
    assert client(log).get(f"/compare?measure={measure}").status_code == 200


def test_of_very_many_features_some_are_drawn_and_that_is_said(log: RunLog) -> None:
    compared(log, SETTINGS[:2], MOST_POINTS + 500)
    answer = client(log).get("/compare?measure=fit")
    assert answer.text.count("<circle") == MOST_POINTS
    assert f"{MOST_POINTS:,} of them evenly spread are drawn" in answer.text


def test_one_setting_alone_and_a_log_without_a_comparison_have_a_page(log: RunLog) -> None:
    assert "interpret compare --features" in client(log).get("/compare").text
    compared(log, SETTINGS[:1])
    answer = client(log).get("/compare")
    assert answer.status_code == 200
    assert "verdict" not in answer.text


@pytest.mark.parametrize("query", ["of=99", "of=x", "up=17", "up=-1", "across=1e3", "measure=nonsense", "up=%00"])
def test_what_is_not_there_is_not_found(log: RunLog, query: str) -> None:
    compared(log)
    assert client(log).get(f"/compare?{query}").status_code == 404


@pytest.mark.parametrize("text", [text for text in NASTY if text != "\ud800"])  # which no JSON of settings can hold
def test_hostile_prompts_are_shown_as_text(tmp_path: Path, text: str) -> None:
    shapes = []
    for name, prompt in (("hostile", text), ("harmless", "as good as gold")):
        with RunLog.open(tmp_path / f"{name}.db") as log:
            compared(
                log, [SETTINGS[0], SETTINGS[0].model_copy(update={"tree": TreeSettings(prompt=prompt + " {ghost}")})]
            )
            parsed = Parsed(client(log).get("/compare").text)
        assert not {"\x1b", "\x00", "\u202e", "\x9b"} & {*parsed.text}
        shapes.append([element.shape for element in parsed.elements])
    assert shapes[0] == shapes[1], "the same elements, whatever a prompt holds"


def test_the_page_needs_no_torch() -> None:
    code = "import sys, eval.review.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
