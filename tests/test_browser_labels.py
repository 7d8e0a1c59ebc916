"""The table of labels in a real browser: filtered as one types, walked and judged by key, left and found again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from agent.log.run_log import RunLog
from agent.web.server import make_app
from tests.browser import TOKEN, opened, served
from tests.feature_log import FEATURE, PAGE, write_log

TABLE = "/runs/1/labels"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    write_log(tmp_path / "l.db")
    path = tmp_path / "l.db"
    with RunLog.open(path, read_only=True) as log, served(make_app(log, TOKEN, reviewer="ann")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.goto(address + TABLE)
        page.wait_for_load_state("networkidle")
        yield page


def test_the_table_is_filtered_as_one_types(page: Page, address: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type("wolves")
    expect(page.locator("#labels tbody tr")).to_have_count(1)
    expect(page).to_have_url(f"{address}{TABLE}?search=wolves&sort=feature&size=100")
    assert page.evaluate("document.activeElement.name") == "search"
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#labels tbody tr")).to_have_count(3)
    page.get_by_label("Status").select_option("labelled")
    expect(page.locator("#labels tbody tr")).to_have_count(2)


def test_a_filter_that_cannot_be_used_is_a_sentence_and_the_table_stays(browser: Browser, address: str) -> None:
    with opened(browser, address, refusal="400") as page:
        page.goto(address + TABLE)
        page.get_by_label("least confidence").fill("7")
        expect(page.locator("#said")).to_contain_text("min_confidence")
        expect(page.locator("#labels tbody tr")).to_have_count(3)


def test_a_row_is_opened_by_key_and_found_again(page: Page, address: str) -> None:
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{address}/runs/1/features/8")
    page.wait_for_load_state()
    page.keyboard.press("[")
    expect(page).to_have_url(address + PAGE)
    page.wait_for_load_state()
    page.keyboard.press("t")
    expect(page).to_have_url(f"{address}{TABLE}?at={FEATURE}")
    expect(page.locator("#f5")).to_have_attribute("aria-current", "true")


def test_the_whole_row_leads_to_the_feature_and_back_leads_to_the_row(page: Page, address: str) -> None:
    page.locator("#f8 .words").click(force=True)
    expect(page).to_have_url(f"{address}/runs/1/features/8")
    page.wait_for_load_state()
    page.go_back()
    expect(page.locator("#f8")).to_have_attribute("aria-current", "true")


def test_rows_are_judged_by_key(page: Page) -> None:
    page.keyboard.press("a")
    expect(page.locator("#said")).to_have_text("Choose a row first: j and k.")
    page.keyboard.press("j")
    page.keyboard.press("f")
    expect(page.locator("#f5 .reviews")).to_have_text("flagged")
    page.keyboard.press("a")
    expect(page.locator("#f5 .reviews")).to_contain_text("accepted")
    expect(page.locator("#f8")).to_have_attribute("aria-current", "true")
    page.keyboard.press("r")
    expect(page.locator("#f8 .reviews")).to_have_text("rejected")
    page.keyboard.press("k")
    page.keyboard.press("u")
    expect(page.locator("#f8 .reviews")).to_be_empty()


def test_on_a_phone_rows_are_cards_and_filters_fold(browser: Browser, address: str) -> None:
    with opened(browser, address, width=390) as page:
        page.goto(address + TABLE)
        expect(page.get_by_label("Status")).to_be_hidden()
        page.get_by_text("Filters").click()
        expect(page.get_by_label("Status")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        box = page.locator("#f5 .score").bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 390
