"""The HTML report in a real browser: its table is searched and sorted, links open features, nothing bars a reader."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from agent.cli.commands.export import ExportRequest, export_run
from tests.browser import findings
from tests.full_logs import fill
from tests.logged import outcome

WORDS = {0: "dogs", 2: "cats", 10: "large dogs"}


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The report as it is mailed: a file, and no network."""
    log, file = tmp_path / "log.db", tmp_path / "report.html"
    fill(log, WORDS, {n: outcome(n, label=words, confidence=None if n == 2 else n / 10) for n, words in WORDS.items()})
    export_run(log, None, file, None, ExportRequest())
    context = browser.new_context(offline=True)
    found = context.new_page()
    faults: list[str] = []
    found.on("pageerror", lambda error: faults.append(str(error)))
    found.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    found.goto(file.as_uri())
    yield found
    context.close()
    assert not faults


def labels(page: Page) -> list[str]:
    return page.locator(".labels tbody tr:visible td:nth-child(2)").all_inner_texts()


def test_the_table_is_searched_as_one_types(page: Page) -> None:
    page.fill("#search", "dogs lar")
    assert labels(page) == ["large dogs"]
    expect(page.locator("#count")).to_have_text("1 of 3")


def test_heads_sort_numbers_as_numbers_and_what_is_empty_last(page: Page) -> None:
    page.get_by_role("button", name="feature").click()
    assert labels(page) == ["dogs", "cats", "large dogs"]
    page.get_by_role("button", name="label").click()
    assert labels(page) == ["cats", "dogs", "large dogs"]
    for order in (["dogs", "large dogs", "cats"], ["large dogs", "dogs", "cats"]):
        page.get_by_role("button", name="confidence").click()
        assert labels(page) == order
    expect(page.locator("th[aria-sort]")).to_have_text("confidence")


def test_a_link_opens_the_feature_with_its_tree_and_dots(page: Page) -> None:
    feature = page.locator("details", has_text="10 large dogs")
    expect(feature.locator("figure.tree svg")).to_be_hidden()
    page.get_by_role("link", name="10", exact=True).first.click()
    expect(feature.locator("figure.tree svg")).to_be_visible()
    expect(feature.locator("svg.dots circle.own")).to_be_visible()


def test_nothing_bars_a_reader(page: Page) -> None:
    page.get_by_role("link", name="10", exact=True).first.click()
    assert findings(page) == []
