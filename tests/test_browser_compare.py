"""The comparison page in a real browser: choosing shows at once, a point opens its feature, nothing bars a reader."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from agent.log.evidence import add_evidence, evidence_rows
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from agent.web.server import make_app
from tests import logged
from tests.browser import TOKEN, Scheme, findings, opened, served
from tests.test_compare_page import N, compared

LONE = 11
"""A feature that the labelling run has not concluded on."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """As after `interpret` and `interpret compare`: all evidence and labels are those of the labelling run."""
    with RunLog.open(tmp_path / "l.db") as log:
        labelling = log.begin_run(logged.identity(), range(N)).run_id
        for feature in range(N):
            log.write(
                add_evidence,
                evidence_rows(labelling, feature, 1, [replace(logged.token_list(" dog"), feature=feature)]),
            ).result()
            if feature != LONE:
                log.write(add_label, labelling, logged.outcome(feature, label=f"dogs of kind {feature}")).result()
        compared(log)
    with RunLog.open(tmp_path / "l.db", read_only=True) as log, served(make_app(log, TOKEN)) as address:
        yield address


def test_a_choice_is_shown_at_once_and_a_point_tells_and_opens_its_feature(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.goto(f"{address}/compare")
        page.select_option("select[name=up]", index=3)
        expect(page).to_have_url(re.compile("up=3"))
        expect(page.locator(".verdict")).to_contain_text("decoder, scale 1 beats encoder, scale 1")
        point = page.locator(".scatter a.point").nth(7)
        point.hover()
        expect(page.locator(".tip")).to_contain_text("dogs of kind 7")
        point.click()
        expect(page).to_have_url(f"{address}/runs/1/features/7")
        expect(page.locator("h1")).to_contain_text("dogs of kind 7")


def test_a_point_without_a_label_opens_its_two_settings(browser: Browser, address: str) -> None:
    with opened(browser, address) as page:
        page.goto(f"{address}/compare")
        page.locator(f".point[data-feature='{LONE}']").click()
        expect(page).to_have_url(re.compile(rf"/compare/1/features/{LONE}\?across=0&up=3$"))
        expect(page.locator("h1")).to_contain_text(f"Feature {LONE} under two settings")
        expect(page.locator(".two-sides > section")).to_have_count(2)


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_is_cut_off(browser: Browser, address: str, width: int) -> None:
    with opened(browser, address, width) as page:
        for place in ("/compare", f"/compare/1/features/{LONE}"):
            page.goto(address + place)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            clipped = (
                "[...document.querySelectorAll('table')].filter(t => t.scrollWidth > t.parentElement.clientWidth + 1)"
            )
            assert page.evaluate(f"{clipped}.length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_a_reader(browser: Browser, address: str, scheme: Scheme) -> None:
    with opened(browser, address, scheme=scheme) as page:
        for place in ("/compare", f"/compare/1/features/{LONE}"):
            page.goto(address + place)
            assert findings(page) == []
