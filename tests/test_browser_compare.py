"""The comparison page in a real browser: choosing shows at once, a point opens its feature, nothing bars a reader."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from agent.runlog import RunLog
from eval.review.server import make_app
from tests.browser import TOKEN, Scheme, findings, launched, opened, served
from tests.test_compare_page import compared


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with RunLog.open(tmp_path / "l.db") as log:
        compared(log)
    with RunLog.open(tmp_path / "l.db", read_only=True) as log, served(make_app(log, TOKEN)) as address:
        yield address


def test_a_choice_is_shown_at_once_and_a_point_opens_its_feature(browser: Browser, address: str) -> None:
    with opened(browser, address, refusal="404") as page:  # a log without evidence has no page of the feature
        page.goto(f"{address}/compare")
        page.select_option("select[name=up]", index=3)
        expect(page).to_have_url(re.compile("up=3"))
        expect(page.locator(".verdict")).to_contain_text("decoder, scale 1 beats encoder, scale 1")
        page.locator(".scatter a").nth(7).click()
        expect(page).to_have_url(re.compile(r"/runs/1/features/\d+$"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_bars_a_reader(browser: Browser, address: str, scheme: Scheme) -> None:
    with opened(browser, address, scheme=scheme) as page:
        page.goto(f"{address}/compare")
        assert findings(page) == []
