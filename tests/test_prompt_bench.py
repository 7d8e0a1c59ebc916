"""Two versions of the templates: which texts they render, where they come from, and what is compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.llm.base import Answer, Exchange, Usage
from agent.log.calls import calls_of
from agent.log.labels import add_label, labels_of
from agent.log.run_log import RunLog
from agent.schema import Proposal
from probes.demo.shipped import load_truth
from probes.errors import SettingsError
from prompts import FOLDER, render, template_hashes, templates_in
from tests.bench.prompt_bench import MEASURES, Version, lines, shared, version_folder
from tests.logged import add_call, identity, outcome, request

FEATURES = sorted(load_truth().features)[:4]
LABEL = Proposal(action="label", label="x", confidence=0.5)


def test_templates_of_another_folder_are_rendered_until_the_context_ends(tmp_path: Path) -> None:
    (tmp_path / "judge.md.j2").write_text("Another judge.", "utf-8")
    before = render("judge", {})
    with templates_in(tmp_path):
        assert render("judge", {}).text == "Another judge."
        assert template_hashes(["judge"])["judge"] == render("judge", {}).hash != before.hash
    assert render("judge", {}) == before


def test_a_version_is_a_folder_or_a_git_ref_and_lacks_no_template(tmp_path: Path) -> None:
    mine, made = tmp_path / "mine", tmp_path / "made"
    for folder in (mine, made):
        folder.mkdir()
    (mine / "judge.md.j2").write_text("Another judge.", "utf-8")
    found = version_folder(str(mine), made)
    assert {path.name for path in found.iterdir()} == {path.name for path in FOLDER.glob("*.md.j2")}
    assert (found / "judge.md.j2").read_text("utf-8") == "Another judge."
    assert (found / "system.md.j2").read_bytes() == (FOLDER / "system.md.j2").read_bytes()
    for nothing in (str(tmp_path), "no-such-ref"):
        with pytest.raises(SettingsError):
            version_folder(nothing, made)


def version(log: RunLog, right: int, tokens: int, cached: int | None, question: str) -> Version:
    """Labels of which the first `right` are right, each by one call."""
    truth = load_truth()
    run_id = log.begin_run(identity(), FEATURES, new=True).run_id
    for place, feature in enumerate(FEATURES):
        label = truth.features[feature].name if place < right else "qqq"
        log.write(add_label, run_id, outcome(feature, label=label)).result()
        usage = Usage(tokens + place, 10, cached, None)
        exchange = Exchange("fake", "m", "{}", usage=usage, cost_usd=0.01)
        add_call(log, run_id, replace(request(feature), prompt=f"{question}{feature}"), Answer(LABEL, exchange))
    rows = {row.feature: row for row in log.read(labels_of, run_id)}
    return Version(rows, {feature: log.read(calls_of, run_id, feature) for feature in FEATURES})


def test_versions_are_compared_by_feature(tmp_path: Path) -> None:
    with RunLog.open(tmp_path / "log.db") as log:
        then, now = version(log, 1, 1000, None, "Feature "), version(log, 3, 900, 450, "A much longer beginning ")
        told = [*lines(then, now, 0)]
    assert [line.split("  ")[0].strip() for line in told[1 : 1 + len(MEASURES)]] == [*MEASURES]
    assert "+0.50" in told[1]
    assert "-100" in told[4]
    assert told[-2].split()[-3:] == ["not", "told", "0.50"]
    assert f"{len(FEATURES)} features, 2 labels differ" in told[-1]
    assert now.prefix[0] > then.prefix[0]


def test_the_shared_prefix_is_counted_in_characters() -> None:
    assert [shared("abc", "abd"), shared("abc", "abc"), shared("x", "y")] == [2, 3, 0]
