"""A feature's page in a real browser: trees drawn, trimmed, folded and walked; reviews given and taken back."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from agent.evidence.branches import Trim, drawn
from agent.evidence.wording import phrase_words
from agent.log.evidence import add_evidence, evidence_rows
from agent.log.labels import labels_of
from agent.log.reviews import reviews_of
from agent.log.run_log import RunLog
from agent.web.server import make_app
from agent.web.trees import drawing
from tests import logged
from tests.browser import TOKEN, Scheme, findings, opened, served
from tests.feature_log import FEATURE, PAGE, side, write_log
from tests.trees import NASTY, tree_of

SHAPE = """
async ([tree, least, most]) => {
  const { branches } = await import("/static/tree-shape.js");
  const found = [];
  const stack = branches(tree, least, most).children.map((child) => [child, 1]).reverse();
  while (stack.length) {
    const [branch, depth] = stack.pop();
    found.push([branch.text.trim(), depth, tree.probabilities[branch.last]]);
    stack.push(...branch.children.map((child) => [child, depth + 1]).reverse());
  }
  return found;
}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_log(tmp_path / "l.db")
    return tmp_path / "l.db"


@pytest.fixture
def address(path: Path) -> Iterator[str]:
    with RunLog.open(path, read_only=True) as log, served(make_app(log, TOKEN, reviewer="ann")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address) as page:
        page.goto(address + PAGE)
        expect(page.locator(".tree-svg .node").first).to_be_visible()
        yield page


@pytest.mark.parametrize(("least", "most"), [(0.0, None), (1e-3, None), (0.0, 40), (0.3, None), (1.0, None)])
def test_the_script_draws_what_the_terminal_draws(page: Page, least: float, most: int | None) -> None:
    tree = logged.grown_tree(400, seed=3)
    columns = dict(drawing(tree)) | {"probabilities": list(tree.probabilities)}
    expected = [
        (branch.text.strip(), depth, branch.probability) for branch, depth in drawn(tree, Trim(most, least)).walk()
    ]

    found = page.evaluate(SHAPE, [columns, least, most or 10**9])

    assert [tuple(line) for line in found] == expected


def test_the_slider_redraws_at_once_and_asks_nothing(page: Page) -> None:
    figure = page.locator("figure.tree").first
    expect(figure.locator(".node").first).to_be_visible()
    before = figure.locator(".node").count()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    figure.get_by_role("slider").fill("900")
    trimmed = figure.locator(".node").count()
    expect(figure.locator("output")).to_have_text("≥ 59%: 3 of 15 nodes")
    figure.get_by_role("slider").fill("0")

    assert trimmed < before == figure.locator(".node").count()
    assert asked == []


def test_a_branch_folds_by_click_and_by_key(page: Page) -> None:
    figure = page.locator("figure.tree").first
    node = figure.get_by_role("treeitem", name="a kind of")
    n_nodes = figure.locator(".node").count()

    node.click()
    expect(node).to_have_attribute("aria-expanded", "false")
    assert figure.locator(".node").count() == n_nodes - 2
    page.keyboard.press("Enter")
    expect(node).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("ArrowLeft")
    expect(node).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == 'dog", 50%'
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "the name, 5.0%"
    assert figure.locator(".node[tabindex='0']").count() == 1


def test_hovering_and_focus_tell_the_probability(page: Page) -> None:
    figure = page.locator("figure.tree").first
    tip = figure.locator(".tree-tip")

    figure.get_by_role("treeitem", name='dog"').hover()
    expect(tip).to_have_text('a kind of dog"\n50% cumulative, 71% given what precedes')
    figure.get_by_role("treeitem", name='hound"').focus()
    expect(tip).to_contain_text("20% cumulative")


def test_the_list_stands_in_for_the_drawing_without_scripts(browser: Browser, address: str) -> None:
    with opened(browser, address, java_script_enabled=False) as page:
        page.goto(address + PAGE)
        expect(page.locator(".tree-outline li").filter(has_text="an animal that barks").first).to_be_visible()
        expect(page.locator(".texts .text").first).to_be_visible()


def test_a_verdict_leads_on_and_is_taken_back_from_there(page: Page, path: Path, address: str) -> None:
    page.keyboard.press("a")
    expect(page).to_have_url(f"{address}/runs/1/features/8")
    expect(page.locator("#said")).to_have_text("Feature 5 accepted; press u to undo.")
    page.keyboard.press("u")
    expect(page).to_have_url(address + PAGE)
    expect(page.locator("#review-title")).not_to_contain_text("accepted")
    assert all_reviews(path) == [("accept", "ann", True)]


def test_an_edit_is_the_heading_from_then_on(page: Page, path: Path) -> None:
    page.keyboard.press("e")
    page.keyboard.press("Control+A")
    page.keyboard.type("dogs and hounds")
    page.keyboard.press("Enter")
    expect(page.locator("#review-title")).to_contain_text("edited")
    expect(page.locator("h1")).to_have_text("dogs and hounds")
    expect(page.locator("#machines")).to_have_text("the explainer proposed dogs")
    expect(page.locator("#review-label")).to_have_value("dogs and hounds")
    page.keyboard.press("u")
    expect(page.locator("h1")).to_have_text("dogs")
    expect(page.locator("#machines")).to_be_hidden()
    assert all_reviews(path) == [("edit", "ann", True)]


def test_a_flag_and_a_note_stay_on_the_page(page: Page, path: Path, address: str) -> None:
    page.keyboard.press("f")
    expect(page.locator("#review-title")).to_contain_text("flagged")
    page.keyboard.press("n")
    page.keyboard.type("a second look")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#said")).to_have_text("Feature 5 has your note.")
    expect(page).to_have_url(address + PAGE)
    assert [verdict for verdict, _, _ in all_reviews(path)] == ["flag", "note"]
    expect(page.locator("#said")).to_be_empty()  # after a while


def test_blind_a_verdict_stays_to_show_what_was_hidden(page: Page, address: str) -> None:
    page.keyboard.press("b")
    expect(page.locator(".headline")).to_have_count(0)
    page.wait_for_load_state()
    page.keyboard.press("a")
    expect(page.locator(".headline")).to_be_visible()
    expect(page).to_have_url(address + PAGE)


def all_reviews(path: Path) -> list[tuple[str, str, bool]]:
    with RunLog.open(path, read_only=True) as log:
        row = log.read(labels_of, 1, features=[FEATURE])[0]
        assert row.label == "dogs"
        return [(one.verdict, one.reviewer, one.undone) for one in log.read(reviews_of, [row.label_id])]


def test_keys_lead_to_the_next_feature_and_to_help(page: Page, address: str) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("accept the label")
    page.keyboard.press("Escape")
    page.keyboard.press("]")
    expect(page).to_have_url(f"{address}/runs/1/features/8")
    page.wait_for_load_state()
    page.keyboard.press("k")
    expect(page).to_have_url(address + PAGE)


OVERFLOWING = """
() => [...document.querySelectorAll(".tree-stage")].filter((one) => one.scrollWidth > one.clientWidth).length
"""


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_a_tree_fits_its_box_at_first_draw(browser: Browser, tmp_path: Path, width: int) -> None:
    path = tmp_path / "wide.db"
    phrases = [
        ([" a", f" kind{one}", f" of{two}" + " thing" * 9, f" {two}"], 0.03) for one in range(6) for two in "xyz"
    ]
    with RunLog.open(path) as log:
        run_id = log.begin_run(logged.identity(), [FEATURE]).run_id
        log.write(add_evidence, evidence_rows(run_id, FEATURE, 1, [tree_of(phrases, feature=FEATURE)])).result()
    with (
        RunLog.open(path, read_only=True) as log,
        served(make_app(log, TOKEN)) as address,
        opened(browser, address, width=width) as page,
    ):
        page.goto(address + PAGE)
        page.locator("figure.tree").scroll_into_view_if_needed()
        expect(page.locator(".node").first).to_be_visible()
        assert page.evaluate(OVERFLOWING) == 0
        for _ in range(6):
            page.keyboard.press("+")
        assert page.evaluate(OVERFLOWING) == 1
        page.keyboard.press("0")
        assert page.evaluate(OVERFLOWING) == 0
        page.keyboard.press("z")
        box = page.locator("figure.tree").bounding_box()
        assert box is not None
        assert (box["x"], box["y"], box["width"]) == (0, 0, width)
        page.keyboard.press("Escape")
        expect(page.locator("figure.tree")).not_to_have_class("tree full")


def test_a_tree_that_is_taller_than_its_box_opens_where_it_begins(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "tall.db"
    with RunLog.open(path) as log:
        run_id = log.begin_run(logged.identity(), [FEATURE]).run_id
        log.write(add_evidence, evidence_rows(run_id, FEATURE, 1, [logged.grown_tree(400)])).result()
    with (
        RunLog.open(path, read_only=True) as log,
        served(make_app(log, TOKEN)) as address,
        opened(browser, address) as page,
    ):
        page.goto(address + PAGE)
        page.locator("figure.tree").scroll_into_view_if_needed()
        page.get_by_role("slider").fill("0")
        stage, root = (page.locator(f"figure.tree {part}").bounding_box() for part in (".tree-stage", ".root"))
        assert stage is not None
        assert root is not None
        assert stage["y"] <= root["y"] <= stage["y"] + stage["height"]


def test_words_are_coloured_by_what_they_add(page: Page) -> None:
    """The decoder's tree is twice as probable throughout: its first words add log 2, what follows adds nothing."""
    figure = page.locator("figure.tree").nth(1)
    figure.scroll_into_view_if_needed()
    words = figure.locator(".node text:not(.share)")
    expect(words.first).to_have_class("more")
    far = [node.evaluate("(one) => one.style.getPropertyValue('--far')") for node in words.all()]
    assert far[:3] == ["22%", "0%", "0%"]


def test_hostile_words_are_drawn_as_words(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "nasty.db"
    tree = tree_of([([f"{place} {words}"], 0.05) for place, words in enumerate(NASTY)], feature=FEATURE)
    tree = replace(tree, prompt="{ghost} is")  # opens no quote that theirs could close
    with RunLog.open(path) as log:
        run_id = log.begin_run(logged.identity(), [FEATURE]).run_id
        log.write(add_evidence, evidence_rows(run_id, FEATURE, 1, [tree, side("encoder", NASTY[7])[1]])).result()
    with (
        RunLog.open(path, read_only=True) as log,
        served(make_app(log, TOKEN)) as address,
        opened(browser, address) as page,
    ):
        page.goto(address + PAGE)
        expect(page.locator(".node")).to_have_count(len(NASTY))
        found = page.locator(".node text:not(.share)").all_text_contents()
        assert page.locator("script:not([src])").count() == 0

    assert sorted(found) == sorted(phrase_words(f"{place} {words}") for place, words in enumerate(NASTY))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_between_the_page_and_its_readers(
    browser: Browser, address: str, scheme: Scheme
) -> None:
    with opened(browser, address, scheme=scheme, bypass_csp=True) as page:  # axe has styles of its own
        for place in (PAGE, f"{PAGE}/calls/1", "/", "/runs/1", "/runs/1/labels"):
            page.goto(address + place)
            page.wait_for_load_state("networkidle")
            assert findings(page) == [], place


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_its_screen(browser: Browser, address: str, width: int) -> None:
    with opened(browser, address, width=width) as page:
        for place in (PAGE, f"{PAGE}/calls/1", "/", "/runs/1", "/runs/1/labels"):
            page.goto(address + place)
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, place


def test_neuronpedia_is_framed_on_request_only(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    write_log(path, neuronpedia="https://neuronpedia.org/gemma-2b/6-res-jb")
    with (
        RunLog.open(path, read_only=True) as log,
        served(make_app(log, TOKEN)) as address,
        opened(browser, address) as page,
    ):
        asked: list[str] = []

        def answer(route: Route) -> None:
            asked.append(route.request.url)
            route.fulfill(body="there")

        page.route(re.compile("neuronpedia"), answer)
        page.goto(address + PAGE)
        page.wait_for_load_state("networkidle")
        before = list(asked)
        page.get_by_role("button", name="Show it here").click()
        expect(page.locator("iframe")).to_have_attribute("sandbox", "allow-scripts allow-same-origin")
        expect(page.frame_locator("iframe").locator("body")).to_have_text("there")

    assert before == []
    assert asked == [f"https://neuronpedia.org/gemma-2b/6-res-jb/{FEATURE}?embed=true"]
