"""The comparison page: every feature a point that opens it, settings by name, hostile texts as texts."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.log.comparisons import ComparisonIdentity, FitRow, add_fits, begin_comparison, newest_fit
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.examples import begin_corpus
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from agent.web.cache import Cache
from agent.web.compare.comparison import Comparison
from agent.web.compare.pair import MAX_LISTED, MAX_POINTS, scatter, verdicts
from agent.web.compare.scales import scales
from agent.web.compare.table import chosen, table
from eval.compare.measures import REPORTED
from probes.settings import ProbeSettings, TreeSettings, VectorSettings
from tests import logged
from tests.serving import Parsed, client
from tests.trees import NASTY

SCALES = (1.0, 2.0, 3.8)
SETTINGS = [ProbeSettings(vector=VectorSettings(weights=w, scale=s)) for w in ("encoder", "decoder") for s in SCALES]
N = 30


def value(feature: int, place: int) -> float:
    return (feature + place * (1 - feature % 3 / 10)) / 100


def fits(place: int, n: int = N) -> list[FitRow]:
    """Feature f has the value (f + place) / 100 or a little less by list and tree, and 0.1 on others' examples."""
    own = [FitRow(f, m, f, value(f, place), None, 0.0, 1.0, 9) for f in range(n) for m in ("list", "tree")]
    others = [FitRow(f, m, f + n, 0.1, None, None, None, 9) for f in range(n) for m in ("list", "tree")]
    contrast = "the tree was grown without a contrast"
    return [*own, *others, *(FitRow(f, "readout", f, None, contrast, None, None, 0) for f in range(n))]


def compared(
    log: RunLog, settings: Sequence[ProbeSettings] = SETTINGS, n: int = N, card: Mapping[str, Any] | None = None
) -> int:
    """A comparison; the number of its run."""
    subject = logged.card(**(card or {}))
    run_id = log.begin_run(logged.identity(subject=subject, kind="compare", explainer=""), range(n)).run_id
    corpus_id = log.write(begin_corpus, logged.corpus_identity(subject=subject)).result()
    id = log.write(begin_comparison, ComparisonIdentity(run_id=run_id, corpus_id=corpus_id, settings={})).result()
    for place, setting in enumerate(settings):
        log.write(add_fits, id, setting, fits(place, n)).result()
    return run_id


def test_every_feature_is_a_point_and_the_verdict_stands_above(log: RunLog) -> None:
    compared(log)
    answer = client(log).get("/compare?measure=fit&across=0&up=1")
    assert answer.status_code == 200
    points = re.findall(r'class="point ahead" href="[^"]*/features/(\d+)', answer.text)
    assert sorted(map(int, points)) == [*range(N)]
    assert "encoder, scale 2 beats encoder, scale 1 on 100% of 30 features" in " ".join(answer.text.split())
    assert re.search(r"higher by \.009 \[\.00\d, \.0\d\d\]", answer.text)


@pytest.mark.parametrize("n", range(1, 8))
def test_a_comparison_of_few_features_has_a_page(log: RunLog, n: int) -> None:
    compared(log, n=n)
    assert client(log).get("/compare").status_code == 200


def test_a_setting_that_was_cut_off_may_be_what_others_are_held_to(log: RunLog) -> None:
    compared(log)
    cut_off = ProbeSettings(vector=VectorSettings(weights="encoder", scale=9.0))
    log.write(add_fits, 1, cut_off, fits(len(SETTINGS), 8)).result()
    for across in range(len(SETTINGS) + 1):
        assert client(log).get(f"/compare?across={across}").status_code == 200


def test_a_point_opens_the_latest_labelling_run_that_has_its_feature_or_else_both_settings(log: RunLog) -> None:
    older = log.begin_run(logged.identity(), range(N)).run_id
    newer = log.begin_run(logged.identity(explainer="another"), range(N)).run_id
    elsewhere = log.begin_run(logged.identity(subject=logged.card(fingerprint="e" * 64)), range(N)).run_id
    for run_id, features in ((older, (3, 4)), (newer, (4,)), (elsewhere, (3, 4, 5))):
        for feature in features:
            log.write(add_label, run_id, logged.outcome(feature, label=f"label {feature} of {run_id}")).result()
    compared(log)
    page = client(log).get("/compare?across=0&up=1").text

    def opened(feature: int) -> str:
        return re.findall(rf'class="point \w+" href="([^"]+)" tabindex="-1" data-feature="{feature}"', page)[0]

    assert opened(3) == f"/runs/{older}/features/3"
    assert opened(4) == f"/runs/{newer}/features/4"
    assert opened(5) == "/compare/1/features/5?across=0&amp;up=1"
    assert f'data-label="label 4 of {newer}"' in page
    for feature in (3, 4, 5):
        assert client(log).get(opened(feature).replace("&amp;", "&")).status_code == 200


def test_a_feature_under_two_settings_has_what_any_run_kept_of_them_and_nothing_else(log: RunLog) -> None:
    labelling = log.begin_run(logged.identity(), [5]).run_id
    words = {SETTINGS[0]: " hound", SETTINGS[1]: " terrier", SETTINGS[2]: " teapot"}
    made = [replace(logged.token_list(word), feature=5, settings=setting) for setting, word in words.items()]
    log.write(add_evidence, evidence_rows(labelling, 5, 1, made)).result()
    compared(log)
    page = client(log).get("/compare/1/features/5?across=0&up=1")
    assert page.status_code == 200
    assert "hound" in page.text
    assert "terrier" in page.text
    assert "teapot" not in page.text
    assert client(log).get("/compare/1/features/99?across=0&up=1").status_code == 404
    assert client(log).get("/compare/1/features/5/tree.json?across=0").status_code == 404


def load(log: RunLog, id: int = 1) -> Comparison:
    return Comparison.load(log, id)


def test_points_stand_where_their_values_do(log: RunLog) -> None:
    compared(log)
    drawn = scatter(load(log), 0, 1, "list", True)
    assert drawn is not None
    assert (drawn.across.low, drawn.n, drawn.n_ahead, drawn.n_behind) == (0.0, N, N, 0)
    assert drawn.across.high == pytest.approx(0.3)
    first, last = drawn.points[0], drawn.points[-1]
    assert (first.cx, first.cy) == (0.0, drawn.up.up(0.01))
    assert (last.cx, last.cy) == (drawn.across.at(0.29), drawn.up.up(value(29, 1)))
    assert len(drawn.furthest) == 2 * MAX_LISTED


def test_every_measure_that_both_have_is_in_the_verdict_and_its_interval_is_drawn(log: RunLog) -> None:
    compared(log)
    found = verdicts(load(log), 0, 1, True)
    assert [line.measure for line in found.lines] == ["specific", "fit", "list", "tree"]
    assert {line.side for line in found.lines} == {"ahead"}
    one = found.lines[0]
    assert one.drawn is not None
    assert one.drawn.at == found.axis.at(0.009)
    page = client(log).get("/compare?across=0&up=1").text
    assert page.count('class="interval') == 4 + 1 + len(SETTINGS), "verdicts, the choice, and every setting"
    assert page.count("<strong>Specificity</strong>") == 1


def test_the_choice_is_made_on_one_half_and_reported_on_the_other(log: RunLog) -> None:
    compared(log)
    found = chosen(load(log), 0, "fit")
    assert found is not None
    assert found.place == len(SETTINGS) - 1, "every further setting is better"
    assert (found.choice.n_development, found.choice.reported.n) == (N // 2, N // 2)
    assert found.often == [("decoder, scale 3.8", 100)]
    assert "A stable choice: 100 of 100" in client(log).get("/compare?measure=fit").text


def test_settings_are_sorted_and_one_that_was_cut_off_stands_apart_and_spoils_no_mean(log: RunLog) -> None:
    compared(log)
    cut_off = ProbeSettings(vector=VectorSettings(weights="decoder", scale=9))
    log.write(add_fits, 1, cut_off, fits(90, 4)).result()
    found = table(load(log), 0, "fit", True, "mean")
    assert [row.place for row in found.rows] == [5, 4, 3, 2, 1, 0, 6]
    assert [row.is_through for row in found.rows] == [True] * 6 + [False]
    assert found.n_common == N
    assert [row.mean.n for row in found.rows] == [N] * 6 + [4]
    assert [row.place for row in table(load(log), 0, "fit", True, "order").rows] == [*range(7)]
    best = chosen(load(log), 0, "fit")
    assert best is not None
    assert best.place == 5, "what was measured on four features only is not chosen"


def test_means_are_over_the_features_that_all_settings_have(log: RunLog) -> None:
    compared(log, SETTINGS[:2])
    log.write(add_fits, 1, SETTINGS[2], [fit for fit in fits(2) if fit.feature < 20]).result()
    common, each = (table(load(log), 0, "list", is_common, "order") for is_common in (True, False))
    assert [row.mean.n for row in common.rows] == [20, 20, 20]
    assert [row.mean.n for row in each.rows] == [N, N, 20]
    assert [row.mean.value for row in common.rows] == [
        pytest.approx(sum(value(f, place) for f in range(20)) / 20) for place in range(3)
    ]


def test_three_scales_or_more_are_a_panel_for_each_side_and_two_are_none(log: RunLog) -> None:
    compared(log)
    found = scales(load(log), "fit", True)
    assert found is not None
    assert [panel.name for panel in found.panels] == ["encoder", "decoder"]
    assert [words for _, words in found.across] == ["1", "2", "3.8"]
    assert [len(panel.dots) for panel in found.panels] == [3, 3]
    assert all(panel.band for panel in found.panels)
    assert "<polyline" in client(log).get("/compare").text


def test_the_scale_that_is_found_for_each_feature_stands_beside_the_others(log: RunLog) -> None:
    auto = ProbeSettings(vector=VectorSettings(weights="encoder", scale="auto"))
    compared(log, [*SETTINGS, auto])
    found = scales(load(log), "fit", True)
    assert found is not None
    assert [panel.auto is not None for panel in found.panels] == [True, False]


def test_two_scales_are_no_curve(log: RunLog) -> None:
    compared(log, SETTINGS[:2])
    assert scales(load(log), "fit", True) is None
    assert "<polyline" not in client(log).get("/compare").text


def test_the_same_pair_on_another_subject_stands_below_it(log: RunLog) -> None:
    compared(log)
    assert "By layer" not in client(log).get("/compare").text
    compared(log, card={"fingerprint": "e" * 64, "hook": "blocks.9.hook_resid_post", "layer": 9})
    page = client(log).get("/compare?of=1&across=0&up=3").text
    assert page.count("/compare?of=2&amp;measure=specific&amp;across=0&amp;up=3") == 1


def test_what_was_counted_is_counted_again_only_when_there_are_new_fits(log: RunLog) -> None:
    compared(log)
    cache, made = Cache(log), []

    def count(log: RunLog) -> int:
        made.append(log)
        return len(made)

    assert cache.until(newest_fit, count) == 1
    log.write(add_label, 1, logged.outcome(1)).result()
    assert cache.until(newest_fit, count) == 1
    log.write(add_fits, 1, SETTINGS[0], fits(1, 2)).result()
    assert cache.until(newest_fit, count) == 2


@pytest.mark.parametrize("measure", REPORTED)
def test_every_measure_has_its_page_measured_or_not(log: RunLog, measure: str) -> None:
    compared(log)
    assert client(log).get(f"/compare?measure={measure}").status_code == 200


def test_of_very_many_features_some_are_drawn_and_that_is_said(log: RunLog) -> None:
    compared(log, SETTINGS[:2], MAX_POINTS + 500)
    answer = client(log).get("/compare?measure=fit")
    assert answer.text.count('class="point') == MAX_POINTS
    assert f"{MAX_POINTS:,} of them, evenly spaced, are drawn" in answer.text


def test_one_setting_alone_and_a_log_without_a_comparison_have_a_page(log: RunLog) -> None:
    assert "interpret compare --features" in client(log).get("/compare").text
    compared(log, SETTINGS[:1])
    answer = client(log).get("/compare")
    assert answer.status_code == 200
    assert "Choose two settings" in answer.text


@pytest.mark.parametrize(
    "query", ["of=99", "of=x", "up=17", "up=-1", "across=1e3", "measure=nonsense", "up=%00", "sort=x", "features=x"]
)
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
    code = "import sys, agent.web.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
